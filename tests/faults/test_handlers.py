"""Handlers that take long, block their loop or hang: one attempt, one end, and their neighbours go on."""

from datetime import datetime

from faults.experiment import attempts_of, experiment
from faults.rig import LEASE_S, Rig


def test_32_33_i3_long_and_blocking_handlers_keep_their_lease(rig: Rig) -> None:
    with experiment(rig, "32, 33 handlers of three leases and more; one that blocks its loop for two") as run:
        run.burst(100, seconds=3.2 * LEASE_S)
        run.burst(4, kind="fault.thread", seconds=3.2 * LEASE_S)
        run.burst(2, kind="fault.blocks", seconds=1.5 * LEASE_S)
        run.burst(500, seconds=0.2)
    assert run.figures.reruns == 0
    assert {attempts_of(document) for document in run.documents()} == {1}


def test_i1_hung_handlers_are_given_up_and_their_neighbours_succeed(rig: Rig) -> None:
    with experiment(rig, "hung handlers, async and in threads, among 600 others") as run:
        hung = run.burst(10, kind="fault.hangs", seconds=0)
        hung += run.burst(6, kind="fault.hangs-in-thread", seconds=20.0)
        run.fails_on_purpose.update(hung)
        run.burst(600, seconds=0.5)
        run.burst(40, kind="fault.thread", seconds=0.05)
    ended = {str(d["_id"]): d for d in run.documents()}
    assert {ended[i]["state"] for i in hung} == {"failed"}
    assert {ended[i]["error"]["type"] for i in hung} == {"TimedOut"}
    others = [d for i, d in ended.items() if i not in set(hung)]
    assert {d["state"] for d in others} == {"succeeded"}
    # The hung ones still hang: a new process has none of them.
    rig.kill(*rig.parts("worker"))


def test_30_i2_a_storm_of_cancels_leaves_each_job_cancelled_or_finished(rig: Rig) -> None:
    with experiment(rig, "30 a cancel for each of 1,000 jobs at random times") as run:
        run.may_cancel = True
        ids = run.in_full_swing(1000)
        # Half of them while they wait and run, the others while all come to their end.
        answers = run.cancel_all(ids[::2])
        run.open_gate()
        answers |= run.cancel_all(ids[1::2])
    ended = {str(d["_id"]): d for d in run.documents()}
    assert {d["state"] for d in ended.values()} <= {"succeeded", "cancelled"}
    cancelled = {i for i, d in ended.items() if d["state"] == "cancelled"}
    assert len(cancelled) >= 100
    for i in ids:
        # A cancel that came too late was told so.
        assert (answers[i] == 409) <= (i not in cancelled), (i, answers[i], ended[i]["state"])
    late = [
        effect
        for effect in run.evidence.effects
        if effect.job_id in cancelled
        and effect.end_at is not None
        and effect.end_at > _instant(ended[effect.job_id]["finished_at"]) + LEASE_S / 3 + 2.0
    ]
    assert not late


def _instant(at: datetime) -> float:
    return at.timestamp()
