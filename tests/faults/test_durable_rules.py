"""The rules of durable jobs and of their ledgers: each breach is seen, and a story without one has none."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from acked_common.model.lifecycle import Reason, State
from acked_common.store.mongo.ledger_documents import known_signal
from faults.checker import check
from faults.durable_evidence import DurableEvidence, SentSignal, StepRun, step_runs
from faults.evidence import Entry, Evidence, Kept
from faults.ledger_changes import LedgerHistory, breaches, updated

RUNNING, QUEUED, WAITING, SUCCEEDED = (s.value for s in (State.RUNNING, State.QUEUED, State.WAITING, State.SUCCEEDED))
CLAIMED, LOST, PARKED = Reason.CLAIMED.value, Reason.LEASE_EXPIRED.value, Reason.PARKED.value
JOB = Kept(
    id="a",
    state=SUCCEEDED,
    rev=5,
    run=1,
    attempt=2,
    tags=(),
    entries=(
        Entry(2, RUNNING, CLAIMED, 1, 10.0),
        Entry(3, QUEUED, LOST, 1, 13.0),
        Entry(4, RUNNING, CLAIMED, 2, 13.5),
        Entry(5, SUCCEEDED, Reason.COMPLETED.value, 2, 14.5),
    ),
    result={"signals": [["s0", None, 1], ["t0", None, 2], ["s1", None, 3]], "steps": [{"step": "a:x", "mark": "m2"}]},
)
SIGNALS = [
    SentSignal("a", "s0", 0, 0, 1, True),
    SentSignal("a", "s1", 0, 1, 3, True),
    SentSignal("a", "t0", 1, 0, 1, True),
]
RUNS = [StepRun("a", "a:x", 1, "m1", 10.1), StepRun("a", "a:x", 2, "m2", 13.6, True)]
GOOD = DurableEvidence(SIGNALS, RUNS)
PARKS = replace(JOB, entries=(JOB.entries[0], Entry(3, WAITING, PARKED, 1, 13.0), *JOB.entries[2:]))


def found(durable: DurableEvidence, job: Kept = JOB) -> list[str]:
    return [text for text in check(Evidence([], {"a": job}, durable=durable))[1] if text[:3] in ("I15", "I16", "I17")]


def with_signals(*taken: tuple[str, int]) -> Kept:
    assert isinstance(JOB.result, dict)
    return replace(JOB, result={**JOB.result, "signals": [[name, None, seq] for name, seq in taken]})


def test_a_good_story_of_a_durable_job_has_no_breach() -> None:
    assert found(GOOD) == []
    assert "3 signals sent 5 times" in GOOD.note and "1 steps, 1 of them ran again" in GOOD.note


@pytest.mark.parametrize(
    ("durable", "job", "text"),
    [
        (GOOD, with_signals(("s0", 1), ("s1", 3)), "I15 a has not taken ['t0']"),
        (GOOD, with_signals(("s0", 1), ("t0", 2), ("s1", 3), ("s1", 4)), "I15 a has taken ['s1'] more than once"),
        (GOOD, with_signals(("s0", 1), ("t0", 2), ("s1", 3), ("?", 4)), "I15 a has taken ['?']"),
        (GOOD, with_signals(("s0", 1), ("s1", 3), ("t0", 2)), "I15 a has taken signal 2 behind signal 3"),
        (GOOD, with_signals(("s1", 1), ("t0", 2), ("s0", 3)), "I15 a has taken the signals of client 0"),
        (replace(GOOD, wrong=["I15 seen"]), JOB, "I15 seen"),
        (replace(GOOD, ledgers_wrong=["seen"]), JOB, "I17 seen"),
        (GOOD, PARKS, "I16 a:x ran again behind attempt 1"),
        (replace(GOOD, runs=[]), JOB, "I16 a:x has a result and never ran"),
        (replace(GOOD, runs=[*RUNS, replace(RUNS[1], mark="m3")]), JOB, "I16 a:x ran 2 times in attempt 2"),
        (replace(GOOD, runs=[RUNS[0], replace(RUNS[1], mark="m3")]), JOB, "I16 a:x has the result of no run"),
        (
            replace(GOOD, runs=[replace(RUNS[0], mark="m2", has_ended=True), replace(RUNS[1], mark="m1")]),
            JOB,
            "kept by",
        ),
        (replace(GOOD, runs=[RUNS[0], replace(RUNS[1], has_ended=False)]), JOB, "I16 a:x has the result of no run"),
    ],
)
def test_each_breach_of_a_durable_job_is_seen(durable: DurableEvidence, job: Kept, text: str) -> None:
    assert [one for one in found(durable, job) if text in one], found(durable, job)


def test_durable_steps_are_read_from_their_lines() -> None:
    line = {"id": "a", "step": "a:x", "attempt": 1, "mark": "m1", "at": 10.1}
    other = {**line, "mark": "m2", "attempt": 2, "at": 13.6}
    lines = [{**line, "what": "begin"}, {**other, "what": "begin"}, {**other, "what": "ended"}]
    assert step_runs(lines) == RUNS


OPEN: dict[str, Any] = {"c": "wait", "n": "w", "s": 1, "b": "n1", "o": True}
DONE: dict[str, Any] = {"c": "wait", "n": "w", "s": 1, "b": "n1", "x": b'{"id": "s0"}'}
STEP: dict[str, Any] = {"c": "step", "n": "x", "s": 2, "b": "n1", "x": b"1"}
STUB: dict[str, Any] = {"s": 2, "p": b"tail"}
FAILED: dict[str, Any] = {"c": "step", "n": "y", "s": 3, "b": "n1", "f": {"t": "E", "m": ""}}
SIGNAL: dict[str, Any] = {"i": "s0", "n": "go"}
LEDGER: dict[str, Any] = {"_id": 7, "ed": 1, "a": 1, "by": "n1", "e": {"w": OPEN, "x": STEP}, "in": [SIGNAL]}


def ledger(entries: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    return {**LEDGER, "e": dict(entries), **fields}


def whole(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    return STEP if entry == STUB else {"x": b"2", **STEP} if "p" in entry else entry


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, ledger({}, **{"in": []})),
        ({}, ledger({"x": STEP}, **{"in": []})),
        (LEDGER, ledger({"w": DONE, "x": STEP}, **{"in": []})),
        (LEDGER, ledger({**LEDGER["e"], "y": FAILED})),
        (LEDGER, ledger(LEDGER["e"], by="n2", a=2)),
        (LEDGER, ledger({"w": OPEN, "x": STUB})),
        (ledger({"w": DONE, "y": FAILED}), ledger({"w": DONE}, ed=2, by="n2", a=2)),
        (
            ledger({"w": OPEN}, **{"in": [{"i": bytes(known_signal("s0")), "p": b"t"}]}),
            ledger({"w": DONE}, **{"in": []}),
        ),
    ],
)
def test_a_ledger_that_changes_as_durable_calls_do_is_right(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert list(breaches(before, after, whole)) == []


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (LEDGER, ledger({"w": OPEN}), "entry x has left"),
        ({}, ledger({"w": OPEN, "x": STEP}, **{"in": []}), "the open by n1 has written 2"),
        (LEDGER, ledger({"w": OPEN, "x": {**STEP, "x": b"2"}}), "kept entry x was changed"),
        (LEDGER, ledger({"w": OPEN, "x": {"s": 2, "p": b"other"}}, by="n1"), None),
        (LEDGER, ledger({"w": {**OPEN, "d": 1}, "x": STEP}), "open entry w was changed and not completed"),
        (LEDGER, ledger({"w": {**DONE, "s": 9}, "x": STEP}, **{"in": []}), "open entry w"),
        (LEDGER, ledger({**LEDGER["e"], "y": {**FAILED, "b": "n0"}}), "entry y is of n0, while n1"),
        (LEDGER, ledger({**LEDGER["e"], "y": {**FAILED, "b": "n2"}}, by="n2"), "the open by n2 has written 1"),
        (LEDGER, ledger(LEDGER["e"], **{"in": []}), "signal s0 has left the inbox"),
        (LEDGER, ledger(LEDGER["e"], ed=3), "edition 3 follows edition 1"),
        (LEDGER, ledger({"w": OPEN}, ed=2), "dropped entry x, which is no failure"),
        (LEDGER, ledger({**LEDGER["e"], "y": FAILED}, ed=2), "a new edition has changed entry y"),
    ],
)
def test_each_breach_of_a_ledger_of_durable_calls_is_seen(
    before: dict[str, Any], after: dict[str, Any], text: str | None
) -> None:
    seen = list(breaches(before, after, lambda entry: {**STEP, "x": b"3"} if "p" in entry else entry))
    assert [one for one in seen if (text or "kept entry x was changed") in one], seen


def event(what: str, **fields: Any) -> dict[str, Any]:
    return {"documentKey": {"_id": 7}, "operationType": what, **fields}


def test_the_history_of_a_durable_ledger_knows_who_may_write() -> None:
    history = LedgerHistory(lambda job_id, entry: entry)
    history.take(event("insert", fullDocument=ledger({})))
    history.take(event("update", updateDescription={"updatedFields": {"e.x": STEP}}))
    opened = {"updatedFields": {"by": "n2", "a": 2}}
    history.take(event("update", updateDescription=opened))
    late = {"updatedFields": {"e.y": FAILED}}
    assert history.wrong == []
    history.take(event("update", updateDescription=late))
    assert history.wrong == ["7: entry y is of n1, while n2 has the ledger"]
    history.take(event("update", updateDescription={"updatedFields": {"by": "n1", "a": 3}}))
    assert history.wrong[1:] == ["7: n1 has opened the ledger again, behind another attempt"]
    history.take(event("update", updateDescription={"updatedFields": {"by": "n3", "a": 3}}))
    assert history.wrong[2:] == ["7: attempt 3 has opened the ledger behind attempt 3"]
    assert (history.opened, history.written) == (4, 2)
    history.take(event("delete"))
    history.take(event("update", updateDescription=late))
    assert history.ledgers == {} and len(history.wrong) == 3


def test_a_description_of_an_update_gives_the_ledger_behind_it() -> None:
    before = {"a": 1, "e": {"x": {"s": 1, "o": True}}, "in": [{"i": 1}, {"i": 2}], "z": 1}
    description = {
        "updatedFields": {"a": 2, "e.y": {"s": 2}, "e.x.x": b"v", "in.1": {"i": 3}, "new.f": 1},
        "removedFields": ["z", "e.x.o"],
        "truncatedArrays": [{"field": "in", "newSize": 1}],
    }
    assert updated(before, description) == {
        "a": 2,
        "e": {"x": {"s": 1, "x": b"v"}, "y": {"s": 2}},
        "in": [{"i": 1}, {"i": 3}],
        "new": {"f": 1},
    }
    assert before["z"] == 1
