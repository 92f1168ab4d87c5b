"""Processes that stop for longer than a lease and wake up: fenced, self-fenced, and nothing taken back wrongly."""

import time

from faults.experiment import experiment
from faults.rig import LEASE_S, TAKEN_BACK_WITHIN_S, Rig
from support.stacks import eventually


def test_5_i3_a_worker_paused_for_two_leases_records_nothing_when_it_wakes(rig: Rig) -> None:
    with experiment(rig, "5 worker paused for two leases in its handlers") as run:
        run.in_full_swing(running=150)
        rig.pause("worker-1")
        time.sleep(2 * LEASE_S)
        run.open_gate()
        rig.resume("worker-1")
        log = rig.stack.stack.layout.logs / "worker-1.log"
        eventually(
            lambda: "lease lost" in (text := log.read_text(errors="replace")) or "outcome dropped" in text,
            within_s=20,
            what="the worker learns that its leases are lost",
        )
    assert run.figures.reruns >= 50
    assert run.figures.taken_back_s <= TAKEN_BACK_WITHIN_S


def test_6_i3_i4_paused_sweepers_take_nothing_back_wrongly_when_they_wake(rig: Rig) -> None:
    with experiment(rig, "6 intake and gateway paused for two leases") as run:
        run.in_full_swing()
        with run.client.load(20, seconds=0.2):
            rig.pause("intake-1")
            rig.pause("gateway-1")
            time.sleep(2 * LEASE_S)
            rig.resume()
    assert run.figures.reruns == 0
