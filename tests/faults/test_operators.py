"""Operators at work while gateways, RabbitMQ and workers are killed: what they asked for happens once, and no more."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle

import pytest

from faults.experiment import Experiment, experiment
from faults.moves import LOAD, MOVES, RATE_PER_S, Strike, leave_failed, planned
from faults.operators import GATEWAYS
from faults.rig import Rig, running_rig
from support.stacks import eventually

BULK_LEASE_S = 4.0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Two gateways: while one is away, the other one takes over."""
    with running_rig(tmp_path_factory.mktemp("pair"), scale={"worker": 2, "gateway": 2}, has_links=False) as running:
        yield running


def owners(run: Experiment) -> Iterator[Strike]:
    """Kills of whichever gateway carries the newest action out."""
    while True:
        yield lambda: run.rig.kill(run.operators.bulk.owner(run.operators.bulk.newest))


def each(rig: Rig, *parts: str) -> Iterator[Strike]:
    """Kills of parts in turn."""
    for part in cycle(parts):
        yield lambda part=part: rig.kill(part)  # type: ignore[misc]


def broker(rig: Rig) -> Iterator[Strike]:
    """Kills of RabbitMQ, each when it is back from the one before."""

    def kill() -> None:
        rig.kill("rabbitmq")
        rig.wait_broker()

    while True:
        yield kill


STRIKES = ("gateways", "RabbitMQ", "workers")
USUAL = frozenset({(0, "gateways"), (1, "workers"), (2, "workers")})
"""Each move is struck by one of them in each run of the suite, and by the others in the second tier. RabbitMQ takes the
longest to come back."""


@pytest.mark.parametrize(
    ("move", "what"),
    [
        pytest.param(move, what, marks=() if (nth, what) in USUAL else pytest.mark.long)
        for nth, move in enumerate(MOVES)
        for what in STRIKES
    ],
)
def test_40_i13_i14_commands_outlive_kills(pair: Rig, move: str, what: str) -> None:
    with experiment(pair, f"40 {move}, {what} killed twice") as run:
        is_owned = what == "gateways" and move != "pause and resume"
        strikes = {
            "gateways": owners(run) if is_owned else each(pair, *GATEWAYS),
            "RabbitMQ": broker(pair),
            "workers": each(pair, "worker-1", "worker-2"),
        }[what]
        MOVES[move](run, [next(strikes), next(strikes)])
    if what != "workers":
        assert run.figures.reruns == 0


def test_41_i13_an_owner_that_stalls_moves_nothing_after_an_abort(pair: Rig) -> None:
    with experiment(pair, "41 owner of a bulk retry paused for three leases, aborted meanwhile") as run:
        bulk, plan = run.operators.bulk, planned(run)
        with run.client.load(LOAD, seconds=0.2):
            ordered = bulk.order(plan, RATE_PER_S)
            bulk.wait_done(ordered, 0.25)
            owner = bulk.owner(ordered)
            other = next(name for name in GATEWAYS if name != owner)
            pair.pause(owner)
            bulk.abort(ordered, to=other)
            done = bulk.wait_ended(ordered, to=other)
            pair.resume(owner)
            eventually(
                lambda: pair.stack.metric("acked_bulk_actions", to=owner) == 0,
                within_s=3 * BULK_LEASE_S,
                what="the former owner knows that it is none",
            )
        many = len(plan.ids)
        assert many // 4 <= done < many
        leave_failed(run, replace(plan, ids=frozenset()))
        run.note = f"{done} of {many} moved"
