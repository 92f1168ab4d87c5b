"""One simulation: processes, clients and operators, the faults of its seed, then calm, then the checks."""

import gc
import hashlib
import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import structlog

from acked_common.model.instants import whole_ms
from acked_worker.handlers.registration import kind_records
from simulation.checks import Observer, Violation, check_at_rest
from simulation.clients import Clients
from simulation.fault_plan import FaultRates, draw_plan
from simulation.handlers import KINDS, Effect
from simulation.long_checks import check_long_work
from simulation.long_handlers import LONG_KINDS
from simulation.long_work import LongWork
from simulation.loop import SimProcess, Spinning, VirtualLoop
from simulation.nemesis import strike
from simulation.ownership import Ownership
from simulation.pauses import PauseRules, draw_pauses
from simulation.processes import WORKER, Gateway, Intake, Node, WorkerNode, boundary
from simulation.sim_broker import SimBroker
from simulation.sim_store import ObservedStore, at_once

START = datetime(2026, 1, 1, tzinfo=UTC)
QUIET_WITHIN_S = 400.0
"""Virtual time after the last fault within which every job must have ended, or be parked for good."""
LONG_SHARE = 0.3
"""Seeds in which some jobs have durable calls."""


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


class Simulator:
    """All that a simulation consists of."""

    def __init__(
        self,
        seed: int,
        store_class: type[ObservedStore],
        without: Collection[str],
        rates: Mapping[str, Any],
        *,
        is_long: bool | None,
    ) -> None:
        self.rng = Random(seed)
        self.loop = VirtualLoop(Random(f"order of {seed}"))
        self.loop.simulation = self  # type: ignore[attr-defined]
        self.trace: list[tuple[Any, ...]] = []
        self.violations: list[Violation] = []
        self.is_over = False
        self._ids = Random(f"ids of {seed}")
        stories = Random(f"stories of {seed}")
        drawn_long = stories.random() < LONG_SHARE
        self.is_long = drawn_long if is_long is None else is_long
        self.kinds = LONG_KINDS if self.is_long else KINDS
        self.lasts_s = self.rng.uniform(4, 16)
        drawn = draw_plan(self.rng, self.lasts_s, without, has_calls=self.is_long)
        self.plan = replace(drawn, rates=replace(drawn.rates, **rates))
        self.rates = self.plan.rates
        self.store_is_away = False
        self.cut_off: set[SimProcess] = set()
        self.acting: SimProcess | None = None
        self.calls_under_way = 0
        self.observer = Observer(self)
        self.ownership = Ownership(self)
        self.pauses = PauseRules(self)
        self.long = LongWork(self, stories)
        self.store = store_class(self)
        self.broker = SimBroker(self)
        self.effects: list[Effect] = []
        self.crashes: set[tuple[UUID, int]] = set()
        """Attempts that have ended the process in which they ran alone."""
        self.clients = Clients(self)
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
        if self.rng.random() < self.rates.slow:
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

    def start(self, node: Callable[["Simulator", str, float], Node], kind: str) -> Node:
        """Starts one more process."""
        number = sum(one.kind == kind for one in self.nodes) + 1
        offset_s = self.rng.uniform(-20, 20) if self.plan.clocks_are_off else 0.0
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
        self.loop.outside_later(self.rng.uniform(0, 2), self.drop_channels, node.process)

    def crash(self, process: SimProcess, job_id: UUID, attempt: int) -> None:
        """A handler ends its process."""
        self.note(process.name, f"attempt {attempt} ends its process", job_id)
        if process.is_of_suspect:
            self.crashes.add((job_id, attempt))
            process.kill()
            return
        for node in [one for one in self.nodes if one.process is process]:
            self.kill(node)
            self.loop.outside_later(self.rng.uniform(0.2, 3), self.start, WorkerNode, "worker")

    def drop_channels(self, process: SimProcess) -> None:
        """The broker loses its connections to a process."""
        for channel in [one for one in self.broker.channels if one.process is process]:
            channel.break_down()

    def stop_attempt(self, boot: str, job_id: UUID, attempt: int) -> None:
        """A gateway sends a cancel to a worker; it may get lost."""
        self._command("on_cancel", boot, job_id, attempt)

    def signalled(self, boot: str, job_id: UUID, attempt: int) -> None:
        """A gateway tells a worker of a signal; that may get lost."""
        self._command("on_signalled", boot, job_id, attempt)

    def _command(self, name: str, boot: str, job_id: UUID, attempt: int) -> None:
        for node in self.up("worker"):
            if node.boot == boot and self.rng.random() >= self.rates.commands_lost:
                context = node.process.main.context()
                command = getattr(node.process, name)
                self.loop.call_later(self.delay_s(), command, job_id, attempt, context=context)

    # The course of events.

    def play(self) -> None:
        """Everything, from the first process to the last check."""
        rng, loop = self.rng, self.loop
        at_once(self.store.ensure_schema())
        at_once(self.store.register_kinds(list(kind_records(self.kinds, WORKER.capacity, seen_at=self.now()).values())))
        for _ in range(rng.choice((1, 1, 2))):
            self.start(Intake, "intake")
        self.start(Gateway, "gateway")
        for _ in range(rng.choice((1, 2, 2, 3))):
            self.start(WorkerNode, "worker")
        self.clients.draw(self.lasts_s)
        draw_pauses(self.clients, self, self.lasts_s)
        for incident in self.plan.incidents:
            loop.outside_later(incident.at_s, strike, self, incident)
        loop.run(lambda: False, self.lasts_s)
        self._clear_up()
        is_quiet = loop.run(self._is_quiet, self.lasts_s + QUIET_WITHIN_S)
        # What comes late must change nothing.
        loop.run(lambda: False, loop.time() + 1.0)
        if not loop.stopped:
            check_at_rest(self)
            check_long_work(self)
        if not is_quiet and not self.violations:
            self.broken(
                "I1", f"no rest within {QUIET_WITHIN_S:g} s: {self.calls_under_way} calls, {self.clients.asking} asking"
            )

    def _clear_up(self) -> None:
        """All faults are over; what died is started again."""
        self.note("simulator", "calm from here on")
        self.rates = FaultRates()
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
        if self.is_long:
            self.loop.outside.spawn(self.long.senders.send_last_ones())

    def _is_quiet(self) -> bool:
        return (
            self.clients.asking == 0
            and self.long.is_quiet(self.observer.live)
            and self.calls_under_way == 0
            and all(one.ended_at is not None for one in self.store.bulk_actions().all())
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
    rates: Mapping[str, Any] | None = None,
    is_long: bool | None = None,
) -> Result:
    """Runs one seed. `without` names faults to leave out (see `fault_plan.KNOBS`), `rates` sets some of them.

    `is_long`: whether some jobs have durable calls; None: the seed decides.
    """
    simulator = Simulator(seed, store_class, without, rates or {}, is_long=is_long)
    before = structlog.get_config()
    collecting = gc.isenabled()
    gc.disable()
    structlog.configure(processors=[simulator.logged], wrapper_class=structlog.make_filtering_bound_logger("error"))
    try:
        with boundary(seed, simulator.new_id):
            try:
                simulator.play()
            except Spinning as error:
                simulator.broken("rest", str(error))
            virtual_s, steps = simulator.loop.time(), simulator.loop.steps
            simulator.is_over = True
            errors = list(simulator.loop.errors)
            errors += simulator.loop.put_away()
            for error in errors:
                simulator.broken("errors", error)
    finally:
        structlog.configure(**before)
        if collecting:
            gc.enable()
    states: dict[str, int] = {}
    for watched in simulator.observer.jobs.values():
        reason = f"{watched.document['state']}: {watched.document['reason']}"
        states[reason] = states.get(reason, 0) + 1
    return Result(seed, tuple(simulator.violations), tuple(simulator.trace), virtual_s, steps, states)
