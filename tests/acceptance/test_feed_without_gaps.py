"""Parts are killed in the middle of 2,000 jobs: in the end each of 50 observers has seen what the database holds."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from acked_common.lifecycle import State
from deploy.native.stack import free_port_base
from support.feed import Observer, Observers, observers
from support.stacks import TestStack, eventually, running_stack

JOBS = 1000
"""Of each of two batches: as many as a snapshot shows one by one."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    environ = {"ACKED_WORKER_SLOTS": "150"}
    with running_stack(
        tmp_path_factory.mktemp("stack"), environ=environ, scale={"worker": 2}, port_base=free_port_base(near=34_000)
    ) as running:
        yield running


def kill(part: str) -> Callable[[TestStack], None]:
    def act(stack: TestStack) -> None:
        os.kill(stack.stack.pid(part), signal.SIGKILL)

    return act


def kill_change_stream(stack: TestStack) -> None:
    """The server forgets the gateway's cursor, and ends the call that waits on it."""
    with MongoClient[dict[str, Any]](stack.stack.urls["mongo"]) as client:
        streams = [
            operation
            for operation in client.admin.aggregate([{"$currentOp": {"idleCursors": True, "localOps": True}}])
            if "$changeStream" in str(operation.get("cursor", {}).get("originatingCommand", ""))
        ]
        assert streams, "the gateway reads a change stream"
        for operation in streams:
            client["acked"].command({"killCursors": "jobs", "cursors": [operation["cursor"]["cursorId"]]})
            if "opid" in operation:
                client.admin.command({"killOp": 1, "op": operation["opid"]})


ACTS: dict[str, Callable[[TestStack], None]] = {
    "gateway": kill("gateway-1"),
    "worker": kill("worker-1"),
    "change stream": kill_change_stream,
    "database": kill("mongod"),
}


def stored(stack: TestStack, batch: str) -> dict[str, tuple[int, str]]:
    """What the database holds of a batch, past all of Acked."""
    with MongoClient[dict[str, Any]](stack.stack.urls["mongo"], uuidRepresentation="standard") as client:
        found = client["acked"]["jobs"].find({"batch": batch}, {"rev": 1, "state": 1})
        return {str(document["_id"]): (document["rev"], document["state"]) for document in found}


def ended(stack: TestStack, batch: str, count: int) -> bool:
    states = stack.batch(batch)
    return sum(states.values()) == count and all(State(state).is_terminal for state in states)


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
def test_no_observer_misses_a_transition(stack: TestStack, act: Callable[[TestStack], None]) -> None:
    with observers() as watch:
        everything = [*watch.add(stack, {"all": True}, 5), *watch.add(stack, {"kind": "demo"}, 5)]
        eventually(watch.have_snapshots, within_s=20, what="the first snapshots")
        batches = {}
        for _ in range(2):
            figures = stack.call("POST", f"/load-test?count={JOBS}&kind=demo").body
            assert figures["persisted"] == JOBS
            # Those who come later have to be as complete as those who were there before.
            batches[figures["batch"]] = watch.add(stack, {"batch": figures["batch"]}, 10)
        ids = {batch: sorted(stored(stack, batch)) for batch in batches}
        by_ids = {batch: watch.add(stack, {"ids": ids[batch]}, 10) for batch in batches}
        eventually(watch.have_snapshots, within_s=20, what="all snapshots")
        running = Counter[str]()
        for batch in batches:
            running.update(stack.batch(batch))
        assert running[State.RUNNING] >= 100, running
        assert running[State.QUEUED] >= 500, running

        breaks = stack.metric("acked_feed_stream_breaks_total")
        act(stack)

        for batch in batches:
            eventually(lambda batch=batch: ended(stack, batch, JOBS), within_s=90, what=f"all of {batch} have ended")
        held = {batch: stored(stack, batch) for batch in batches}
        for batch in batches:
            for observer in (*batches[batch], *by_ids[batch]):
                agrees(observer, held[batch])
        for observer in everything:
            sees_the_end(observer, held)
        if act is kill_change_stream:
            assert stack.metric("acked_feed_stream_breaks_total") > breaks
        assert len(watch.all) == 50
        assert watch.wrong() == []
        assert sum(observer.resyncs for observer in watch.all) == 0, resyncs(watch)


def agrees(observer: Observer, held: dict[str, tuple[int, str]]) -> None:
    eventually(
        lambda: observer.jobs == held,
        within_s=20,
        what=f"an observer of {len(held)} jobs that saw {len(observer.jobs)} agrees with the database",
    )


def sees_the_end(observer: Observer, held: dict[str, dict[str, tuple[int, str]]]) -> None:
    """One that is shown counts: what it saw of a job is no later than the database, and no live job is left."""
    live = {state.value for state in State if not state.is_terminal}
    eventually(
        lambda: observer.counts is not None and not live & {state for state, n in observer.counts.items() if n},
        within_s=20,
        what="an observer of all sees that none is live",
    )
    for batch in held.values():
        for job_id, (rev, state) in batch.items():
            seen = observer.jobs.get(job_id, (0, ""))
            assert seen[0] < rev or seen == (rev, state)


def resyncs(watch: Observers) -> list[tuple[int, int]]:
    return [(observer.resyncs, observer.connections) for observer in watch.all]
