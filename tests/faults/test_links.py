"""Each link breaks in each way, and reports arrive wrongly: waits are bounded, nothing is lost, no gap in the feed."""

import random
import time

import pytest

from faults.experiment import experiment
from faults.frames import mangler
from faults.links import Break, Link
from faults.rig import LEASE_S, Rig

LASTS_S = 1.5


@pytest.mark.parametrize("what", [Break.HOLD, Break.REFUSE, Break.HALF_CLOSE, Break.DELAY])
def test_17_i1_i5_every_link_can_break(rig: Rig, what: Break) -> None:
    with experiment(rig, f"17 each of the {len(Link)} links: {what}") as run:
        run.in_full_swing()
        with run.client.load(30, seconds=0.2):
            run.open_gate()
            for link in random.Random(17).sample(list(Link), len(Link)):
                rig.links.inflict(link, what)
                time.sleep(LASTS_S if what is not Break.HALF_CLOSE else 0.5)
                rig.links.heal()


def test_18_i3_a_worker_without_the_database_loses_its_leases_once(rig: Rig) -> None:
    with experiment(rig, "18 workers cut off from MongoDB alone for two leases") as run:
        run.in_full_swing()
        rig.links.inflict(Link.WORKER_MONGODB, Break.HOLD)
        time.sleep(2 * LEASE_S)
        rig.links.heal()


@pytest.mark.parametrize("how", ["dropped", "doubled", "swapped"])
def test_29_i9_reports_that_arrive_wrongly_leave_no_gap_in_the_feed(rig: Rig, how: str) -> None:
    with experiment(rig, f"29 frames of the worker channel {how}") as run:
        rig.links.rewrite(Link.WORKER_GATEWAY, lambda: mangler(how, random.Random(29)))
        rig.links.inflict(Link.WORKER_GATEWAY, Break.CUT)
        run.burst(900, seconds=0.8)
        with run.client.load(40, seconds=0.1):
            time.sleep(3.0)
