"""One simulation: processes, clients and persons, the faults of its seed, then calm, then the checks."""

import asyncio
import gc
import hashlib
import traceback
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import structlog

from acked_common.http.problems import ProblemError
from acked_common.model.instants import whole_ms
from acked_common.model.lifecycle import State
from acked_common.model.options import JobOptions
from acked_common.store.errors import StoreError
from acked_common.store.records import Job
from acked_gateway.jobs.commands import Resolution
from acked_intake.accept.submission import Submission
from acked_worker.handlers.registration import kind_records
from simulation.checks import Observer, Violation, check_at_rest
from simulation.fault_plan import Weather, forecast
from simulation.handlers import KINDS, Effect, Script, draw_script
from simulation.loop import SimProcess, Spinning, VirtualLoop
from simulation.nemesis import strike
from simulation.ownership import Ownership
from simulation.processes import WORKER, Gateway, Intake, Node, WorkerNode, boundary
from simulation.sim_broker import SimBroker
from simulation.sim_store import ObservedStore, at_once

START = datetime(2026, 1, 1, tzinfo=UTC)
QUIET_WITHIN_S = 400.0
"""Virtual time after the last fault within which every job must have ended."""
CLIENT_WITHIN_S = 5.0


class ConnectionLost(Exception):
    """The process that was asked has died, or does not answer."""


@dataclass(slots=True)
class Sent:
    """One submission and what its client was told: `accepted`, `refused`, or `unknown`."""

    number: int
    submission: Submission
    key: str | None = None
    answer: str = "unknown"
    job_id: UUID | None = None
    """The one of its last answer."""
    job_ids: set[UUID] = field(default_factory=set)
    """Those of all its answers: with a key a client sends it again."""


@dataclass(frozen=True, slots=True)
class CancelAnswer:
    """What a person was told who cancelled: `cancelled`, `asked`, `ended`, `409` or `unknown`."""

    job_id: UUID
    answer: str
    at: float


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one seed."""

    seed: int
    violations: tuple[Violation, ...]
    trace: tuple[tuple[Any, ...], ...]
    virtual_s: float
    steps: int
    states: dict[str, int] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Of all that happened: the same for the same seed and code."""
        return hashlib.sha256(repr(self.trace).encode()).hexdigest()


class World:
    """All that a simulation consists of."""

    def __init__(
        self, seed: int, store_class: type[ObservedStore], without: Collection[str], weather: Mapping[str, Any]
    ) -> None:
        self.rng = Random(seed)
        self.loop = VirtualLoop(Random(f"order of {seed}"))
        self.loop.simulation = self  # type: ignore[attr-defined]
        self.trace: list[tuple[Any, ...]] = []
        self.violations: list[Violation] = []
        self.is_over = False
        self._ids = Random(f"ids of {seed}")
        self.lasts_s = self.rng.uniform(4, 16)
        drawn = forecast(self.rng, self.lasts_s, without)
        self.forecast = replace(drawn, weather=replace(drawn.weather, **weather))
        self.weather = self.forecast.weather
        self.store_is_away = False
        self.cut_off: set[SimProcess] = set()
        self.acting: SimProcess | None = None
        self.calls_under_way = 0
        self.observer = Observer(self)
        self.ownership = Ownership(self)
        self.store = store_class(self)
        self.store.world = self
        self.broker = SimBroker(self)
        self.effects: list[Effect] = []
        self.crashes: set[tuple[UUID, int]] = set()
        """Attempts that have ended the process in which they ran alone."""
        self.scripts: list[Script] = []
        self.submissions: list[Sent] = []
        self.cancels: list[CancelAnswer] = []
        self.asking = 0
        self.nodes: list[Node] = []

    # Time, chance and the trace.

    def now(self) -> datetime:
        """The store's clock."""
        return whole_ms(self.time())

    def time(self) -> datetime:
        """The true time."""
        return START + timedelta(seconds=self.loop.time())

    def monotonic(self) -> float:
        """As of `Clock`."""
        return self.loop.time()

    def new_id(self) -> UUID:
        """A UUIDv7 of the virtual time."""
        ms = int(self.time().timestamp() * 1000)
        bits = self._ids.getrandbits(74)
        return UUID(int=ms << 80 | 7 << 76 | (bits >> 62) << 64 | 2 << 62 | bits & (1 << 62) - 1)

    def delay_s(self) -> float:
        """How long a message takes."""
        if self.rng.random() < self.weather.slow:
            return self.rng.random() * 2.0
        return 0.001 + self.rng.random() * 0.01

    def note(self, who: str, what: str, *job_ids: UUID) -> None:
        """Adds a line to the trace."""
        self.trace.append((self.loop.time(), who, what, job_ids))

    def broken(self, rule: str, text: str, job_id: UUID | None = None) -> None:
        """Something happened that must not; the simulation ends."""
        self.note("!", f"{rule}: {text}", *([job_id] if job_id else []))
        self.violations.append(Violation(rule, text, job_id))
        self.loop.stopped = True

    def is_cut_off(self, process: SimProcess) -> bool:
        """Whether a process can't reach the store."""
        return process in self.cut_off

    def logged(self, _: object, method: str, event: dict[str, Any]) -> Any:
        """An error in a log is one: no fault of the outside may be logged as an error."""
        if not self.is_over:
            error = event.get("exc_info") or event.get("error") or ""
            shown = traceback.format_exception(error) if isinstance(error, BaseException) else [str(error)]
            self.broken("log", f"{method}: {event.get('event')} {''.join(shown)}")
        raise structlog.DropEvent

    # Processes.

    def start(self, node: Callable[["World", str, float], Node], kind: str) -> Node:
        """Starts one more process."""
        number = sum(one.kind == kind for one in self.nodes) + 1
        offset_s = self.rng.uniform(-20, 20) if self.forecast.clocks_are_off else 0.0
        started = node(self, f"{kind}-{number}", offset_s)
        self.nodes.append(started)
        self.note(started.process.name, "starts")
        return started

    def up(self, kind: str) -> list[Any]:
        """The living processes of a kind that take calls."""
        return [node for node in self.nodes if node.kind == kind and node.is_up and not node.process.is_dead]

    def alive(self, kind: str) -> list[Node]:
        """The processes of a kind that have not died."""
        return [node for node in self.nodes if node.kind == kind and not node.process.is_dead]

    def sweepers(self, since: float) -> int:
        """How many processes with a sweeper have lived since then."""
        return sum(node.kind != "worker" and node.process.died_at > since for node in self.nodes)

    def kill(self, node: Node) -> None:
        """Ends a process as SIGKILL does; the broker notices a moment later."""
        self.note(node.process.name, "killed")
        node.process.kill()
        self.loop.world_later(self.rng.uniform(0, 2), self.drop_channels, node.process)

    def crash(self, process: SimProcess, job_id: UUID, attempt: int) -> None:
        """A handler ends its process."""
        self.note(process.name, f"attempt {attempt} ends its process", job_id)
        if process.is_of_suspect:
            self.crashes.add((job_id, attempt))
            process.kill()
            return
        for node in [one for one in self.nodes if one.process is process]:
            self.kill(node)
            self.loop.world_later(self.rng.uniform(0.2, 3), self.start, WorkerNode, "worker")

    def drop_channels(self, process: SimProcess) -> None:
        """The broker loses its connections to a process."""
        for channel in [one for one in self.broker.channels if one._process is process]:
            channel.close()

    def stop_attempt(self, boot: str, job_id: UUID, attempt: int) -> None:
        """A gateway sends a cancel to a worker; it may get lost."""
        for node in self.up("worker"):
            if node.boot == boot and self.rng.random() >= self.weather.commands_lost:
                context = node.process.main.context()
                self.loop.call_later(self.delay_s(), node.process.on_cancel, job_id, attempt, context=context)

    async def ask(self, node: Node, call: Callable[[], Awaitable[Any]]) -> Any:
        """Calls a process as a client does, over a line that may break. Raises what the call raises, or
        `ConnectionLost`."""
        answered = self.loop.create_future()

        def answer(result: Any, error: BaseException | None) -> None:
            if not answered.done():
                if error is None:
                    answered.set_result(result)
                else:
                    answered.set_exception(error)

        async def serve() -> None:
            try:
                result, error = await call(), None
            except (ProblemError, StoreError) as raised:
                result, error = None, raised
            self.loop.world_later(self.delay_s(), answer, result, error)

        def arrive() -> None:
            if not node.process.is_dead:
                node.process.spawn(serve())

        lost = ConnectionLost()
        node.process.on_death.append(lambda: self.loop.world_later(0.05, answer, None, lost))
        self.loop.world_later(self.delay_s(), arrive)
        self.loop.world_later(CLIENT_WITHIN_S, answer, None, lost)
        return await answered

    # What clients and persons do.

    async def _client(self, sent: Sent, at_s: float) -> None:
        await asyncio.sleep(at_s)
        sent.answer = await self._submit(sent)
        if sent.key is not None:
            await self._submit_again(sent)
        self._done_asking()

    async def _submit_again(self, sent: Sent) -> None:
        """With a key that is safe, whatever is known by now; some of it at once, beside each other."""
        for _ in range(self.rng.choice((1, 2, 4))):
            await asyncio.sleep(self.rng.choice((0.0, self.rng.uniform(0, 2), self.rng.uniform(0, 6))))
            for answer in await asyncio.gather(*(self._submit(sent) for _ in range(self.rng.choice((1, 1, 3))))):
                # What was told once stays true.
                sent.answer = min(sent.answer, answer, key=("accepted", "unknown", "refused").index)

    async def _submit(self, sent: Sent) -> str:
        intakes = self.up("intake")
        if not intakes:
            return "refused"
        intake = self.rng.choice(intakes)
        try:
            job = await self.ask(intake, lambda: intake.acceptance.accept(sent.submission, key_text=sent.key))
            sent.job_id = job.id
            sent.job_ids.add(job.id)
            answer = "accepted"
        except ProblemError as error:
            answer = "unknown" if error.problem.name == "outcome-unknown" else "refused"
            if error.problem.name == "idempotency-key-reused":
                self.broken("I6", f"submission {sent.number} was taken for another one with the same key")
        except ConnectionLost:
            answer = "unknown"
        self.note("client", f"submission {sent.number}: {answer}", *([sent.job_id] if sent.job_id else []))
        return answer

    async def _person(self, at_s: float, act: str) -> None:
        await asyncio.sleep(at_s)
        known = [sent.job_id for sent in self.submissions if sent.job_id is not None]
        # A cancel is most interesting for what runs, and now and then for what has ended.
        wanted = {"cancel": State.RUNNING if self.rng.random() < 0.8 else None}.get(act, State.FAILED)
        known = [i for i in known if wanted in (None, self.observer.jobs[i].document["state"])]
        gateways = self.up("gateway")
        if known and gateways:
            await self._act(self.rng.choice(gateways), act, self.rng.choice(known))
        self._done_asking()

    async def _act(self, gateway: Any, act: str, job_id: UUID) -> None:
        commands = gateway.commands
        calls: dict[str, Callable[[], Awaitable[Job]]] = {
            "cancel": lambda: commands.cancel(str(job_id)),
            "retry": lambda: commands.retry(str(job_id)),
            "resolve": lambda: commands.resolve(str(job_id), Resolution(State.SUCCEEDED, b'"by hand"', None)),
        }
        try:
            job = await self.ask(gateway, calls[act])
            answer = job.state.value
            if act == "cancel":
                is_cancelled = job.state is State.CANCELLED
                answer = "cancelled" if is_cancelled else "asked" if job.cancel_requested else "ended"
        except ProblemError as error:
            answer = str(error.problem.status)
        except (StoreError, ConnectionLost):
            answer = "unknown"
        self.note("person", f"{act}: {answer}", job_id)
        if act == "cancel":
            self.cancels.append(CancelAnswer(job_id, answer, self.loop.time()))

    def _done_asking(self) -> None:
        self.asking -= 1

    def _submission(self, number: int) -> Submission:
        rng = self.rng
        timeout_s = rng.uniform(0.5, 4) if rng.random() < 0.2 else None
        self.scripts.append(draw_script(rng, timeout_s, self.weather.jobs_crash))
        return Submission(
            kind=rng.choice(sorted(KINDS)),
            payload=b'{"n":%d}' % number,
            delay_s=rng.uniform(0, 6) if rng.random() < 0.2 else 0.0,
            options=JobOptions(
                max_attempts=rng.randint(1, 5) if rng.random() < 0.3 else None,
                timeout_s=timeout_s,
                expires_in_s=rng.uniform(1, 20) if rng.random() < 0.1 else None,
            ),
        )

    # The course of events.

    def play(self) -> None:
        """Everything, from the first process to the last check."""
        rng, loop = self.rng, self.loop
        at_once(self.store.ensure_schema())
        at_once(self.store.register_kinds(list(kind_records(KINDS, WORKER.capacity, seen_at=self.now()).values())))
        for _ in range(rng.choice((1, 1, 2))):
            self.start(Intake, "intake")
        self.start(Gateway, "gateway")
        for _ in range(rng.choice((1, 2, 2, 3))):
            self.start(WorkerNode, "worker")
        crowd = rng.choice((3, 6, 10, 16))
        at_s = sorted(rng.uniform(0.1, self.lasts_s * 0.8) for _ in range(crowd))
        if rng.random() < 0.5:
            # Many at once: they share a group commit and bundles.
            at_s = [at_s[0]] * crowd
        for number in range(crowd):
            submission = self._submission(number)
            key = f"key-{number}" if rng.random() < 0.25 else None
            self.submissions.append(Sent(number, submission, key))
            self._world_task(self._client(self.submissions[number], at_s[number]))
        for _ in range(rng.choice((0, 1, 4, 10))):
            act = rng.choice(("cancel", "cancel", "retry", "resolve"))
            self._world_task(self._person(rng.uniform(0.2, self.lasts_s * 1.5), act))
        for storm in self.forecast.storms:
            loop.world_later(storm.at_s, strike, self, storm)
        loop.run(lambda: False, self.lasts_s)
        self._clear_up()
        is_quiet = loop.run(self._is_quiet, self.lasts_s + QUIET_WITHIN_S)
        # What comes late must change nothing.
        loop.run(lambda: False, loop.time() + 1.0)
        if not loop.stopped:
            check_at_rest(self)
        if not is_quiet and not self.violations:
            self.broken(
                "I1", f"no rest within {QUIET_WITHIN_S:g} s: {self.calls_under_way} calls, {self.asking} asking"
            )

    def _world_task(self, coroutine: Any) -> None:
        self.asking += 1
        self.loop.world.spawn(coroutine)

    def _clear_up(self) -> None:
        """All faults are over; what died is started again."""
        self.note("world", "calm from here on")
        self.weather = Weather()
        self.store_is_away = self.broker.queues.is_away = False
        self.broker.swallows = False
        self.broker.pump_all()
        self.cut_off.clear()
        for node in self.nodes:
            node.process.fuse = 0
            if node.process.is_paused:
                node.process.resume()
        for node, kind in ((Intake, "intake"), (Gateway, "gateway"), (WorkerNode, "worker")):
            if not [one for one in self.alive(kind) if not one.is_leaving]:
                self.start(node, kind)

    def _is_quiet(self) -> bool:
        return (
            self.observer.live == 0
            and self.asking == 0
            and self.calls_under_way == 0
            and self.broker.unacked == 0
            and self.broker.ready() == 0
            and all(effect.gone_at <= self.loop.time() for effect in self.effects)
            and not any(node.held()["bundles"] for node in self.nodes if not node.process.is_dead)
        )


def run(
    seed: int,
    *,
    store_class: type[ObservedStore] = ObservedStore,
    without: Collection[str] = (),
    weather: Mapping[str, Any] | None = None,
) -> Result:
    """Runs one seed. `without` names faults to leave out (see `weather.KNOBS`), `weather` sets some of them."""
    world = World(seed, store_class, without, weather or {})
    before = structlog.get_config()
    collecting = gc.isenabled()
    gc.disable()
    structlog.configure(processors=[world.logged], wrapper_class=structlog.make_filtering_bound_logger("error"))
    try:
        with boundary(seed, world.new_id):
            try:
                world.play()
            except Spinning as error:
                world.broken("rest", str(error))
            virtual_s, steps = world.loop.time(), world.loop.steps
            world.is_over = True
            errors = list(world.loop.errors)
            errors += world.loop.put_away()
            for error in errors:
                world.broken("errors", error)
    finally:
        structlog.configure(**before)
        if collecting:
            gc.enable()
    states: dict[str, int] = {}
    for watched in world.observer.jobs.values():
        reason = f"{watched.document['state']}: {watched.document['reason']}"
        states[reason] = states.get(reason, 0) + 1
    return Result(seed, tuple(world.violations), tuple(world.trace), virtual_s, steps, states)
