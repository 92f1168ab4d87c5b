"""Three mongods: fail-over, failing commands, failing write concerns, an outage longer than the lease."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from acked_common.model.lifecycle import Reason
from faults.durable import SIGNALS
from faults.durable_load import durable_load, reasons, wait_confirmed
from faults.experiment import ENDS_WITHIN_S, experiment
from faults.mongods import ReplicaSet
from faults.moves import MOVES
from faults.rig import LEASE_S, Rig, running_rig

CLOSED = {"closeConnection": True}
INTAKE, WORKER, GATEWAY = "acked-intake", "acked-worker", "acked-gateway"
WTIMEOUT, STEPPED_DOWN = 64, 91


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    made = ReplicaSet(tmp_path_factory.mktemp("mongods"), members=3)
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def rig3(members: ReplicaSet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with running_rig(
        tmp_path_factory.mktemp("rig3"),
        scale={"worker": 2},
        environ={"ACKED_WORKER_SLOTS": "300"},
        has_links=False,
        mongo_url=members.url,
    ) as running:
        yield running


def test_12_i1_i5_fail_overs_by_stepdown_and_kill_lose_nothing(rig3: Rig, members: ReplicaSet) -> None:
    with experiment(rig3, "12 primary steps down, then is killed, of three members") as run:
        run.in_full_swing()
        with run.client.load(40, seconds=0.2):
            members.step_down()
            run.open_gate()
            run.wait_accepted(80)
            members.kill(members.wait_primary())
            run.wait_accepted(80)
        members.resume()


@pytest.mark.parametrize("times", [1, 2])
def test_14_i1_i5_connections_that_close_on_a_write_leave_no_wrong_answer(
    rig3: Rig, members: ReplicaSet, times: int
) -> None:
    failures = (
        (INTAKE, ["insert"], CLOSED),
        (WORKER, ["update"], CLOSED),
        (INTAKE, ["update"], CLOSED),
        (WORKER, ["findAndModify"], CLOSED),
    )
    with experiment(rig3, f"14 connection closed on {times} times insert, update, findAndModify") as run:
        _fail_under_load(rig3, members, run, failures, times)


@pytest.mark.parametrize("labels", [[], ["RetryableWriteError"]], ids=["plain", "retryable"])
@pytest.mark.parametrize("code", [WTIMEOUT, STEPPED_DOWN])
def test_15_i1_i3_a_write_concern_error_is_no_202_and_no_end(
    rig3: Rig, members: ReplicaSet, code: int, labels: list[str]
) -> None:
    how: dict[str, Any] = {"writeConcernError": {"code": code, "errmsg": "asked for"}, "errorLabels": labels}
    failures = ((INTAKE, ["insert"], how), (WORKER, ["update"], how))
    name = f"15 write concern error {code} {'with' if labels else 'without'} label on insert, update"
    with experiment(rig3, name) as run:
        _fail_under_load(rig3, members, run, failures, 2)


@pytest.mark.parametrize(
    "move", [pytest.param(move, marks=() if move == "run now" else pytest.mark.long) for move in MOVES]
)
def test_42_i13_i14_commands_outlive_a_killed_primary(rig3: Rig, members: ReplicaSet, move: str) -> None:
    def kill() -> None:
        members.resume()
        members.kill(members.wait_primary())
        members.wait_primary()

    with experiment(rig3, f"42 {move}, MongoDB's primary killed twice, of three members") as run:
        # A claim that no member confirms leaves its jobs to the sweeper: for a minute, and for two the next time.
        run.ends_within_s = 2 * ENDS_WITHIN_S
        MOVES[move](run, [kill, kill])
        members.resume()


def test_49_i15_i16_i17_durable_calls_outlive_failing_commands(rig3: Rig, members: ReplicaSet) -> None:
    unconfirmed: dict[str, Any] = {"writeConcernError": {"code": WTIMEOUT, "errmsg": "asked for"}, "errorLabels": []}
    failures = [
        (app, command, how)
        for app, command in ((WORKER, "update"), (WORKER, "insert"), (GATEWAY, "findAndModify"), (GATEWAY, "update"))
        for how in (CLOSED, unconfirmed)
    ]
    name = "49 writes of durable calls and signals fail, then the primary steps down and is killed"
    with experiment(rig3, name) as run, durable_load(run) as durable:
        for app, command, how in failures:
            members.fail([command], times=2, app=app, how=how)
            members.wait_failed()
        members.step_down()
        wait_confirmed(durable, 2 * SIGNALS)
        members.kill(members.wait_primary())
        wait_confirmed(durable, 2 * SIGNALS)
        members.resume()
    assert {Reason.PARKED, Reason.SIGNALLED} <= reasons(run)


def _fail_under_load(rig: Rig, members: ReplicaSet, run: Any, failures: Any, times: int) -> None:
    run.in_full_swing()
    entered = 0
    # The intake updates what is due.
    with run.client.load(60, seconds=0.2), run.client.load(20, seconds=0.2, delay_s=0.5):
        run.open_gate()
        for app, commands, how in failures:
            members.fail(commands, times=times, app=app, how=how)
            entered += members.wait_failed()
    run.note = f"{entered} commands failed"


@pytest.mark.long
def test_37_i1_i4_an_outage_longer_than_the_lease_runs_nothing_again(rig3: Rig, members: ReplicaSet) -> None:
    with experiment(rig3, "37 MongoDB away for two leases with 500 running") as run:
        run.in_full_swing(running=500)
        paused_at = time.time()
        members.pause()
        time.sleep(2 * LEASE_S)
        members.resume()
        members.wait_primary()
    # A claim whose answer the outage has held up may have lost its lease before its worker knew of it.
    assert [effect for effect in run.begun_in_vain() if effect.begin_at < paused_at] == []
