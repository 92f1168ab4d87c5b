"""A command goes down the worker's line where it ends here, else to the other gateways."""

import asyncio
from uuid import UUID

import pytest
from starlette.applications import Starlette

from acked_common.background.worker_cache import WorkerCache, instance_of
from acked_common.broker import BrokerError
from acked_common.channel.commands import CancelCommand, Command, DrainCommand, SignalledCommand
from acked_common.channel.frames import JobAttempt
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.model.lifecycle import State
from acked_common.store.records import WorkerRecord
from acked_gateway.audit.notes import Audit
from acked_gateway.jobs.commands import Commands
from acked_gateway.workers import command_router as module
from acked_gateway.workers.channel import WorkerChannel
from acked_gateway.workers.command_router import CommandRouter
from acked_gateway.workers.routes import worker_routes
from support.asgi import call
from support.factories import ManualClock, cancelling, owner, queued, running
from support.parts import ShakyStore, common_settings, settle
from unit.gateway.jobs.test_commands import Bench

JOB = UUID(int=7)


class Lines(WorkerChannel):
    """Workers that are connected, and what was sent to them."""

    def __init__(self, *boots: str) -> None:
        self.boots = boots
        self.sent: list[tuple[str, str, list[JobAttempt]]] = []

    def cancel(self, boot: str, jobs: object) -> bool:
        if boot in self.boots:
            self.sent.append(("cancel", boot, list(jobs)))  # type: ignore[call-overload]
        return boot in self.boots

    def signalled(self, boot: str, jobs: object) -> bool:
        if boot in self.boots:
            self.sent.append(("signalled", boot, list(jobs)))  # type: ignore[call-overload]
        return boot in self.boots

    def drain(self, boot: str) -> bool:
        if boot in self.boots:
            self.sent.append(("drain", boot, []))
        return boot in self.boots


class Bus:
    """The other gateways."""

    def __init__(self) -> None:
        self.published: list[Command] = []
        self.failure: BrokerError | None = None
        self.hold = asyncio.Event()
        self.hold.set()

    async def publish(self, command: Command) -> None:
        await self.hold.wait()
        if self.failure is not None:
            raise self.failure
        self.published.append(command)


async def test_a_worker_that_is_connected_here_is_told_here() -> None:
    lines, bus = Lines("b"), Bus()
    commands = CommandRouter(lines)
    commands.attach(bus)
    commands.cancel("b", JOB, 3)
    commands.drain("b")
    await settle()
    assert lines.sent == [("cancel", "b", [JobAttempt(JOB, 3)]), ("drain", "b", [])]
    assert bus.published == []


async def test_another_one_is_looked_for_at_the_other_gateways() -> None:
    lines, bus = Lines("b"), Bus()
    commands = CommandRouter(lines)
    commands.attach(bus)
    commands.cancel("c", JOB, 3)
    commands.drain("c")
    await settle()
    assert bus.published == [CancelCommand("c", [JobAttempt(JOB, 3)]), DrainCommand("c")]
    assert lines.sent == []


async def test_what_comes_from_the_others_is_never_sent_on() -> None:
    lines, bus = Lines("b"), Bus()
    commands = CommandRouter(lines)
    commands.attach(bus)
    for boot in ("b", "c"):
        commands.take(CancelCommand(boot, [JobAttempt(JOB, 1)]))
        commands.take(DrainCommand(boot))
    await settle()
    assert [(what, boot) for what, boot, _ in lines.sent] == [("cancel", "b"), ("drain", "b")]
    assert bus.published == []


async def test_a_broker_that_is_away_costs_nothing_but_the_command() -> None:
    bus = Bus()
    bus.failure = BrokerError("away")
    commands = CommandRouter(Lines())
    commands.attach(bus)
    commands.cancel("c", JOB, 1)
    await settle()
    bus.failure = None
    commands.drain("c")
    await settle()
    assert bus.published == [DrainCommand("c")]


async def test_only_so_many_wait_for_a_slow_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PASSING_ON", 3)
    bus = Bus()
    bus.hold.clear()
    commands = CommandRouter(Lines())
    commands.attach(bus)
    for attempt in range(1, 6):
        commands.cancel("c", JOB, attempt)
    await settle()
    bus.hold.set()
    await settle()
    assert len(bus.published) == 3
    commands.drain("c")
    await settle()
    assert len(bus.published) == 4, "there is room again"
    await commands.stop()


# What a person asks for.


async def test_a_cancel_of_a_running_job_tells_its_worker() -> None:
    bench = Bench()
    told: list[tuple[str, UUID, int]] = []
    commands = Commands(
        bench.store,
        bench.writer,
        Audit(bench.store.audit(), bench.clock),
        bench.clock,
        common_settings().times,
        lambda *command: told.append(command),
        waits=bench.store.ledgers(),
    )
    job = await running(bench.store, by=owner(boot="boot-7"))
    assert (await commands.cancel(str(job.id))).state is State.RUNNING
    assert told == [("boot-7", job.id, 1)]
    again = await cancelling(bench.store, by=owner(boot="boot-8"))
    await commands.cancel(str(again.id))
    assert told[1:] == [("boot-8", again.id, 1)], "asked again, it tells again"
    await commands.cancel(str((await queued(bench.store)).id))
    assert len(told) == 2, "nobody runs it, nobody is told"
    await bench.bundle_publisher.stop()


async def test_drain_reaches_one_worker_alone() -> None:
    clock = ManualClock()
    store = ShakyStore(clock)

    def record(boot: str, name: str) -> WorkerRecord:
        return WorkerRecord(boot, name, ("a",), 1, 0, 0, "1", clock.now(), clock.now())

    for boot, name in (("b1", "w"), ("b2", "w"), ("b3", "other")):
        await store.refresh_worker(record(boot, name))
    lines = Lines("b1", "b2", "b3", "b4")
    audit = Audit(store.audit(), clock)
    routes = worker_routes(store, WorkerCache(store, seen_within_s=24.0), CommandRouter(lines), audit)
    app = Starlette(routes=routes, exception_handlers=dict(EXCEPTION_HANDLERS))

    async def drain(worker: str) -> tuple[int, str]:
        answer = await call(app, "POST", f"/workers/{worker}/drain")
        return answer.status, answer.json.get("detail", "")

    status, detail = await drain("w")
    assert status == 409, "two stacks on one database both have it"
    assert instance_of("b1") in detail
    assert instance_of("b2") in detail
    assert lines.sent == []
    assert await store.refresh_worker(record("b1", "w")) is False
    assert store.audit().entries == [], "what was refused is not noted"

    assert (await drain(instance_of("b2")))[0] == 202
    assert (await drain("other"))[0] == 202
    assert [boot for _, boot, _ in lines.sent] == ["b2", "b3"]
    assert [entry.target for entry in store.audit().entries] == [
        {"worker": "w", "instance": instance_of("b2")},
        {"worker": "other", "instance": instance_of("b3")},
    ]
    assert await store.refresh_worker(record("b2", "w")) is True
    assert (await drain("nobody"))[0] == 404

    # The first one is killed; what took its place is meant.
    clock.advance(7.0)
    await store.refresh_worker(record("b4", "w"))
    assert (await drain("w"))[0] == 202
    assert lines.sent[-1][1] == "b4"
    await store.forget_worker("b4")
    await store.forget_worker("b1")
    await store.forget_worker("b2")
    assert (await drain("w"))[0] == 404


async def test_a_signal_goes_down_the_line_or_to_the_other_gateways() -> None:
    lines, bus = Lines("here"), Bus()
    router = CommandRouter(lines)
    router.attach(bus)
    for boot in ("here", "there"):
        router.signalled(boot, JOB, 3)
    await settle()
    assert lines.sent == [("signalled", "here", [JobAttempt(JOB, 3)])]
    assert bus.published == [SignalledCommand("there", [JobAttempt(JOB, 3)])]
    CommandRouter(other := Lines("there")).take(bus.published[0])
    assert other.sent == [("signalled", "there", [JobAttempt(JOB, 3)])]
    await router.stop()
