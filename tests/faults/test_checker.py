"""The checker sees each breach in a story that has it, and none in a story that has none."""

import random
from dataclasses import replace
from typing import Any

import pytest

from acked_common.model.lifecycle import Reason, State
from faults.checker import check
from faults.clients import Attempt, Told
from faults.evidence import Command, Effect, Entry, Evidence, Kept, Loss, Pause, Seen, Standing, takes_effect_at
from faults.frames import frame_size, mangler
from faults.links import Break, Link
from faults.results import document_of
from faults.schedule import SERVICE_PARTS, Fault, kills, mixed

RUNNING, QUEUED, SUCCEEDED = State.RUNNING.value, State.QUEUED.value, State.SUCCEEDED.value
CLAIMED, LOST, COMPLETED = Reason.CLAIMED.value, Reason.LEASE_EXPIRED.value, Reason.COMPLETED.value

JOB = Kept(
    id="a",
    state=SUCCEEDED,
    rev=3,
    run=1,
    attempt=1,
    tags=("try-1",),
    entries=(Entry(2, RUNNING, CLAIMED, 1, 10.0), Entry(3, SUCCEEDED, COMPLETED, 1, 11.0)),
    result={"attempt": 1},
)
ACCEPTED = Attempt("try-1", Told.ACCEPTED, "a", "", 0.01)
KEYED = replace(ACCEPTED, key="k")
REUSED = replace(KEYED, told=Told.REUSED, job_id=None, detail="a", is_other=True)
EFFECT = Effect("a", 1, 100, 10.1, 10.9, "ended")
SEEN = Seen({"a": (3, SUCCEEDED)}, None, [], 0, 1)
GOOD = Evidence([ACCEPTED], {"a": JOB}, [EFFECT], [], [SEEN], waiting_bundles={"lane": 0})

RERUN = replace(
    JOB,
    rev=5,
    attempt=2,
    entries=(
        Entry(2, RUNNING, CLAIMED, 1, 10.0),
        Entry(3, QUEUED, LOST, 1, 13.0),
        Entry(4, RUNNING, CLAIMED, 2, 13.5),
        Entry(5, SUCCEEDED, COMPLETED, 2, 14.5),
    ),
    result={"attempt": 2},
)
ZOMBIE = [Effect("a", 1, 100, 10.1, 14.0, "stopped"), Effect("a", 2, 200, 13.6, 14.4, "ended")]


FAILED, RETRIED = State.FAILED.value, Reason.RETRIED.value
RETRY = replace(
    JOB,
    rev=6,
    run=2,
    attempt=2,
    kind="k",
    entries=(
        Entry(2, RUNNING, CLAIMED, 1, 10.0),
        Entry(3, FAILED, Reason.PERMANENT_ERROR.value, 1, 11.0),
        Entry(4, QUEUED, RETRIED, 1, 12.0, "bulk:x"),
        Entry(5, RUNNING, CLAIMED, 2, 12.1),
        Entry(6, SUCCEEDED, COMPLETED, 2, 13.1),
    ),
    result={"attempt": 2},
)
COMMAND = Command(RETRIED, frozenset({"a"}), (Standing("x", "done", 1),))
PAUSE = Pause("k", 10.5, 12.1)
MOVED = replace(
    GOOD,
    jobs={"a": RETRY},
    effects=[Effect("a", 1, 100, 10.1, 10.9, "stopped"), Effect("a", 2, 100, 12.2, 13.0, "ended")],
    observers=[],
    commands=[COMMAND],
    pauses=[PAUSE],
)


def with_command(**changes: Any) -> Evidence:
    return replace(MOVED, commands=[replace(COMMAND, **changes)])


def retried_again() -> Evidence:
    again = replace(RETRY.entries[2], rev=7)
    return replace(MOVED, jobs={"a": replace(RETRY, rev=7, entries=(*RETRY.entries, again), state=QUEUED)})


def with_job(**changes: Any) -> Evidence:
    return replace(GOOD, jobs={"a": replace(JOB, **changes)}, observers=[])


def with_attempts(*more: Attempt) -> Evidence:
    return replace(GOOD, attempts=[KEYED, *more])


def test_a_key_stands_for_one_job() -> None:
    refused = replace(KEYED, told=Told.REFUSED, job_id=None)
    assert check(with_attempts(refused, KEYED, REUSED, replace(REUSED, told=Told.UNKNOWN)))[1] == []


def test_a_good_story_has_no_breach() -> None:
    figures, breaches = check(GOOD)
    assert breaches == []
    assert (figures.accepted, figures.ended, figures.lost, figures.failed) == (1, 1, 0, 0)


def test_attempts_may_overlap_where_a_lease_was_lost_and_the_delays_are_told() -> None:
    seen = replace(SEEN, jobs={"a": (5, SUCCEEDED)})
    figures, breaches = check(
        replace(GOOD, jobs={"a": RERUN}, effects=ZOMBIE, losses=[Loss(100, 10.5)], observers=[seen])
    )
    assert breaches == []
    assert (figures.reruns, figures.doubled) == (1, 0)
    assert (figures.taken_back_s, figures.claimed_again_s) == (2.5, 0.5)


def test_what_was_taken_back_before_its_process_died_tells_no_delay() -> None:
    seen = replace(SEEN, jobs={"a": (5, SUCCEEDED)})
    figures, _ = check(replace(GOOD, jobs={"a": RERUN}, effects=ZOMBIE, losses=[Loss(100, 13.5)], observers=[seen]))
    assert figures.reruns == 1
    assert (figures.taken_back_s, figures.claimed_again_s) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("invariant", "evidence"),
    [
        ("I1", replace(GOOD, jobs={}, effects=[])),
        ("I1", with_job(state=RUNNING)),
        ("I1", with_job(state=State.FAILED.value)),
        ("I1", with_job(state=State.CANCELLED.value)),
        ("I1", replace(GOOD, attempts=[ACCEPTED, Attempt("try-2", Told.WRONG, None, "500", 0.1)])),
        ("I6", with_attempts(replace(KEYED, job_id="b"))),
        ("I6", with_attempts(replace(KEYED, is_other=True))),
        ("I6", with_attempts(replace(REUSED, is_other=False))),
        ("I6", with_attempts(replace(REUSED, detail="b"))),
        ("I2", with_job(entries=(*JOB.entries, Entry(4, SUCCEEDED, COMPLETED, 1, 12.0)), rev=4)),
        ("I2", with_job(entries=JOB.entries[1:])),
        ("I2", with_job(entries=(JOB.entries[0], replace(JOB.entries[1], rev=4)))),
        ("I2", with_job(attempt=2)),
        ("I3", with_job(result={"attempt": 2})),
        ("I4", replace(GOOD, effects=[])),
        ("I4", replace(GOOD, effects=[replace(EFFECT, how="stopped")])),
        ("I4", replace(GOOD, effects=[EFFECT, replace(EFFECT, pid=200)])),
        ("I4", replace(GOOD, effects=[EFFECT, replace(EFFECT, attempt=2, begin_at=10.5)])),
        ("I4", replace(GOOD, effects=[EFFECT, replace(EFFECT, job_id="b")])),
        ("I5", replace(GOOD, attempts=[ACCEPTED, Attempt("try-1", Told.REFUSED, None, "busy", 0.1)])),
        ("I5", replace(GOOD, attempts=[replace(KEYED, told=Told.REFUSED, job_id=None)])),
        ("I5", replace(GOOD, jobs={"a": JOB, "b": replace(JOB, id="b")})),
        ("I5", with_job(missing=("payload",))),
        ("I7", replace(GOOD, wakeless=1)),
        ("I8", replace(GOOD, waiting_bundles={"lane": 2})),
        ("I9", replace(GOOD, observers=[replace(SEEN, wrong=["rev 3 after 1"])])),
        ("I9", replace(GOOD, observers=[replace(SEEN, jobs={"a": (2, RUNNING)})])),
        ("I9", replace(GOOD, observers=[replace(SEEN, jobs={}, counts={RUNNING: 1})])),
        ("I9", replace(GOOD, observers=[replace(SEEN, jobs={"b": (2, RUNNING)})])),
        ("I13", with_command(standings=(Standing("x", "done", 2),))),
        ("I13", with_command(standings=(Standing("x", "done", 0),))),
        ("I13", with_command(standings=(Standing("x", "running", 1),))),
        ("I13", with_command(standings=(Standing("x", "aborted", 1),))),
        ("I13", with_command(standings=(Standing("x", "failed", 1),), is_aborted=True)),
        ("I13", with_command(ids=frozenset())),
        ("I13", with_command(ids=frozenset({"a", "b"}))),
        ("I13", with_command(ids=frozenset({"b"}), standings=(), reason=Reason.RUN_NOW.value)),
        ("I13", retried_again()),
        ("I14", replace(MOVED, pauses=[replace(PAUSE, from_at=10.0)])),
        ("I14", replace(MOVED, pauses=[replace(PAUSE, until_at=12.3)])),
        ("I12", replace(GOOD, leaks=["payload is in worker-1.log"])),
    ],
)
def test_each_breach_is_seen(invariant: str, evidence: Evidence) -> None:
    _, breaches = check(evidence)
    assert any(breach.startswith(f"{invariant} ") for breach in breaches), breaches


def test_what_operators_asked_for_and_got_is_no_breach() -> None:
    assert check(MOVED)[1] == []
    aborted = with_command(
        ids=frozenset({"a", "b"}), standings=(Standing("x", "aborted", 1), Standing("y", "aborted", 0)), is_aborted=True
    )
    assert check(aborted)[1] == []
    assert check(replace(MOVED, pauses=[replace(PAUSE, kind="other", from_at=0.0)]))[1] == []


def test_a_pause_takes_effect_when_workers_can_know_of_it() -> None:
    assert takes_effect_at(10.0, 3.0, []) == 13.0
    assert takes_effect_at(10.0, 3.0, [(2.0, 9.0), (13.5, 20.0)]) == 13.0
    assert takes_effect_at(10.0, 3.0, [(16.0, 17.0), (9.0, 11.0), (12.0, 14.0)]) == 20.0


def test_a_schedule_is_that_of_its_seed() -> None:
    assert list(mixed(random.Random(7), 600)) == list(mixed(random.Random(7), 600))
    assert list(mixed(random.Random(7), 600)) != list(mixed(random.Random(8), 600))
    many = [mishap for seed in range(20) for mishap in mixed(random.Random(seed), 600)]
    assert {mishap.fault for mishap in many} == set(Fault)
    assert {mishap.target for mishap in many if mishap.fault is Fault.BREAK} == {str(link) for link in Link}
    assert {mishap.how for mishap in many if mishap.how} == set(Break)
    killed = list(kills(random.Random(1), 100, 3.0))
    assert len(killed) == 100
    assert {mishap.target for mishap in killed} == set(SERVICE_PARTS)


def frame(text: bytes) -> bytes:
    assert len(text) < 126
    return bytes((0x81, 0x80 | len(text))) + b"mask" + text


@pytest.mark.parametrize("how", ["dropped", "doubled", "swapped"])
def test_frames_are_mangled_whole_whatever_the_chunks(how: str) -> None:
    sent = [frame(str(number).encode()) for number in range(200)]
    stream = b"GET / HTTP/1.1\r\n\r\n" + b"".join(sent)
    rewrite = mangler(how, random.Random(1))
    arrived = b"".join(rewrite(stream[start : start + 7]) for start in range(0, len(stream), 7))
    head, rest = arrived[:18], arrived[18:]
    assert head == stream[:18]
    got = []
    while rest:
        size = frame_size(rest)
        assert size is not None
        got.append(rest[:size])
        rest = rest[size:]
    assert got[0] == sent[0]
    assert set(got) <= set(sent)
    match how:
        case "dropped":
            assert 100 < len(got) < 180
        case "doubled":
            assert 220 < len(got) < 300
        case _:
            assert len(got) >= 199
            assert got != sent


def test_a_new_table_keeps_the_sections_behind_it() -> None:
    former = document_of([]) + "| an old row |\n\n## 100 SIGKILLs\n\n| all rounds |\n"
    page = document_of([], former)
    assert "an old row" not in page
    assert page == document_of([]) + "\n## 100 SIGKILLs\n\n| all rounds |\n"
