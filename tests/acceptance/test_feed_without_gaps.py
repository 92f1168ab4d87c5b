"""Parts are killed in the middle of 2,000 jobs: in the end each of 50 observers has seen what the database holds."""

import asyncio
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from acked_common.model.lifecycle import State
from deploy.native.layout import Ports
from deploy.native.stack import free_port_base
from support.feed import Observer, Observers, observers
from support.stacks import TestStack, eventually, running_stack
from support.tcp_proxy import Proxy

ROUNDS = int(os.environ.get("ACKED_TEST_ROUNDS", "1"))
JOBS = 1000
"""Of each of two batches: as many as a snapshot shows one by one."""
KIND = "test.gated"
HANDLERS = Path(__file__).parent / "gated_handlers"
WITHIN_S = 60.0
"""For what a busy machine takes its time for."""


class CutLine:
    """Between workers and their gateway: what can be cut while both go on."""

    def __init__(self, gateway_port: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="line", daemon=True)
        self._thread.start()
        self._proxy = Proxy("127.0.0.1", gateway_port)
        asyncio.run_coroutine_threadsafe(self._proxy.start(), self._loop).result(10)

    @property
    def port(self) -> int:
        """Where the workers find it."""
        return self._proxy.port

    def cut(self) -> None:
        """Ends all connections; new ones can be made."""
        self._loop.call_soon_threadsafe(self._proxy.cut)

    def stop(self) -> None:
        """Ends it."""
        asyncio.run_coroutine_threadsafe(self._proxy.close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture(scope="module")
def port_base() -> int:
    return free_port_base()


@pytest.fixture(scope="module")
def line(port_base: int) -> Iterator[CutLine]:
    made = CutLine(Ports(port_base).gateway)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def authenticator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """While this file is there no job ends."""
    return tmp_path_factory.mktemp("gate") / "closed"


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, port_base: int, line: CutLine, authenticator: Path
) -> Iterator[TestStack]:
    environ = {
        "ACKED_WORKER_SLOTS": "75",
        "ACKED_GATEWAY_URL": f"ws://127.0.0.1:{line.port}",
        "ACKED_HANDLERS_DIR": str(HANDLERS),
        "TEST_GATE": str(authenticator),
    }
    with running_stack(
        tmp_path_factory.mktemp("stack"), environ=environ, scale={"worker": 2}, port_base=port_base
    ) as running:
        eventually(lambda: channels(running) == 2, within_s=WITHIN_S, what="both workers are connected")
        yield running


def channels(stack: TestStack) -> float:
    return stack.metric("acked_channel_workers")


def kill(part: str) -> Callable[[TestStack, CutLine], None]:
    def act(stack: TestStack, _: CutLine) -> None:
        os.kill(stack.stack.parts.pid(part), signal.SIGKILL)

    return act


def cut_channel(stack: TestStack, line: CutLine) -> None:
    assert channels(stack) == 2
    line.cut()


def kill_change_stream(stack: TestStack, _: CutLine) -> None:
    """The server forgets the gateway's cursor, and ends the call that waits on it."""
    with MongoClient[dict[str, Any]](stack.stack.urls["mongo"]) as client:
        streams = [
            operation
            for operation in client.admin.aggregate(
                [{"$currentOp": {"allUsers": True, "idleCursors": True, "localOps": True}}]
            )
            if "$changeStream" in str(operation.get("cursor", {}).get("originatingCommand", ""))
        ]
        assert streams, "the gateway reads a change stream"
        for operation in streams:
            client["acked"].command({"killCursors": "jobs", "cursors": [operation["cursor"]["cursorId"]]})
            if "opid" in operation:
                client.admin.command({"killOp": 1, "op": operation["opid"]})


ACTS: dict[str, Callable[[TestStack, CutLine], None]] = {
    "gateway": kill("gateway-1"),
    "worker": kill("worker-1"),
    "change stream": kill_change_stream,
    "channel": cut_channel,
    "database": kill("mongod"),
}
USUAL = ("gateway", "change stream")
"""The acts of each run; the second tier has all."""


def stored(stack: TestStack, batch: str) -> dict[str, tuple[int, str]]:
    """What the database holds of a batch, past all of Acked."""
    with MongoClient[dict[str, Any]](stack.stack.urls["mongo"], uuidRepresentation="standard") as client:
        found = client["acked"]["jobs"].find({"batch": batch}, {"rev": 1, "state": 1})
        return {str(document["_id"]): (document["rev"], document["state"]) for document in found}


def states_of(stack: TestStack, batches: Iterable[str]) -> Counter[str]:
    states = Counter[str]()
    for batch in batches:
        states.update(stack.batch(batch))
    return states


def ended(stack: TestStack, batch: str, count: int) -> bool:
    states = stack.batch(batch)
    return sum(states.values()) == count and all(State(state).is_terminal for state in states)


@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize(
    "act",
    [pytest.param(act, id=name, marks=() if name in USUAL else pytest.mark.long) for name, act in ACTS.items()],
)
def test_no_observer_misses_a_transition(
    stack: TestStack, line: CutLine, authenticator: Path, act: Callable[[TestStack, CutLine], None], number: int
) -> None:
    authenticator.touch()
    with observers() as watch:
        everything = [*watch.add(stack, {"all": True}, 5), *watch.add(stack, {"kind": KIND}, 5)]
        eventually(watch.have_snapshots, within_s=WITHIN_S, what="the first snapshots")
        batches = {}
        for _ in range(2):
            figures = stack.call("POST", f"/load-test?count={JOBS}&kind={KIND}").body
            assert figures["persisted"] == JOBS, figures
            # Those who come later have to be as complete as those who were there before.
            batches[figures["batch"]] = watch.add(stack, {"batch": figures["batch"]}, 10)
        ids = {batch: sorted(stored(stack, batch)) for batch in batches}
        by_ids = {batch: watch.add(stack, {"ids": ids[batch]}, 10) for batch in batches}
        eventually(watch.have_snapshots, within_s=WITHIN_S, what="all snapshots")
        eventually(lambda: states_of(stack, batches)[State.RUNNING] >= 100, within_s=WITHIN_S, what="100 jobs run")
        # What breaks now breaks in the middle, however long the observers took: most jobs wait behind the gate.
        assert states_of(stack, batches)[State.QUEUED] >= JOBS

        breaks = stack.metric("acked_feed_stream_breaks_total")
        authenticator.unlink()
        eventually(lambda: states_of(stack, batches)[State.SUCCEEDED], within_s=WITHIN_S, what="the first have ended")
        act(stack, line)

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
        eventually(lambda: channels(stack) == 2, within_s=WITHIN_S, what="both workers are connected again")
        assert watch.wrong() == []
        assert sum(observer.resyncs for observer in watch.all) == 0, resyncs(watch)


def agrees(observer: Observer, held: dict[str, tuple[int, str]]) -> None:
    try:
        eventually(lambda: observer.jobs == held, within_s=WITHIN_S, what="an observer agrees with the database")
    except AssertionError:
        differ = {job_id: (observer.jobs.get(job_id), found) for job_id, found in held.items()}
        differ = {job_id: pair for job_id, pair in differ.items() if pair[0] != pair[1]}
        raise AssertionError(f"{observer!r} differs in {len(differ)} of {len(held)} jobs: {differ}") from None


def sees_the_end(observer: Observer, held: dict[str, dict[str, tuple[int, str]]]) -> None:
    """One that is shown counts: what it saw of a job is no later than the database, and no live job is left."""
    live = {state.value for state in State if not state.is_terminal}
    eventually(
        lambda: observer.counts is not None and not live & {state for state, n in observer.counts.items() if n},
        within_s=WITHIN_S,
        what="an observer of all sees that none is live",
    )
    for batch in held.values():
        for job_id, (rev, state) in batch.items():
            seen = observer.jobs.get(job_id, (0, ""))
            assert seen[0] < rev or seen == (rev, state)


def resyncs(watch: Observers) -> list[tuple[int, int]]:
    return [(observer.resyncs, observer.connections) for observer in watch.all]
