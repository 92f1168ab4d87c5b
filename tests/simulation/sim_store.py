"""A process's line to the store in memory: calls take time, fail before or after they took effect, or come late."""

from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from acked_common.model.audit import AuditEntry
from acked_common.model.pauses import KindPauses, Pause
from acked_common.store.errors import OutcomeUnknown, StoreError, StoreUnavailable
from acked_common.store.mongo.documents import Document
from acked_common.store.records import Insertion, Reservation
from simulation.ledger_watch import WatchedLedgers
from simulation.loop import SimProcess
from simulation.scale import VARIABLES
from support.factories import claimed_job
from support.memory_ledgers import MemoryLedgers
from support.memory_store import MemoryStore

if TYPE_CHECKING:
    from simulation.simulator import Simulator

READS = frozenset(
    {
        "get",
        "get_many",
        "histories",
        "key_holder",
        "live_jobs",
        "tenants_to_resume",
        "waits_ended",
        "of_other_kinds",
        "queued_by_kind",
        "revisions",
        "kinds",
        "pauses",
        "watermarks",
        "server_time",
        "workers",
        "database_id",
        "check_schema",
        *("bulk_actions.get", "bulk_actions.ids_of", "choices.newest_id", "choices.count"),
        *("choices.jobs_in", "choices.jobs_of"),
        *("ledgers.read_inboxes", "ledgers.read_progress", "ledgers.read_ledger", "ledgers.pending_signals"),
    }
)
OF_SEVERAL = frozenset(
    {"insert", "claim", "apply", "renew", "reserve", "resume", "ledgers.open_ledgers", "ledgers.write_entries"}
)
"""Calls that a server carries out job by job; their first argument is the list of jobs."""
READ_BEHIND = frozenset({"claim", "apply", "renew", "reserve", "resume", "ledgers.open_ledgers"})
"""Writes that read afterwards: where that read meets no server, the write has happened all the same."""
BY_NONCE = frozenset({"claim", "reserve"})
"""Writes whose effect is found by their nonce."""
ONCE = frozenset({"take_turn", "bulk_actions.take"})
"""Writes that the server tells from their repetition: the second one would find its own turn taken."""
SLOW_RENEWAL_S = 2 * float(VARIABLES["ACKED_LEASE_S"])


MOMENTS = frozenset({"ledgers.open_ledgers", "ledgers.write_entries", "ledgers.push_signal", "announce", "resume"})
"""Behind these a process is struck now and then, and ahead of their response."""


class ObservedLedgers(MemoryLedgers):
    """The ledgers of all jobs; tells each change."""

    def __init__(self, jobs: Mapping[UUID, Document], simulator: "Simulator") -> None:
        super().__init__(jobs, simulator)
        self._ledgers = WatchedLedgers(simulator)


class ObservedStore(MemoryStore):
    """The store that all processes share; tells each transition."""

    ledgers_class: type[ObservedLedgers] = ObservedLedgers

    def __init__(self, simulator: "Simulator") -> None:
        super().__init__(simulator)
        self.simulator = simulator
        self._ledgers = self.ledgers_class(self._jobs, simulator)

    async def reserve(self, reservations: Sequence[Reservation], *, nonce: str) -> set[UUID]:
        await super().reserve(reservations, nonce=nonce)
        return self.reserved(reservations, nonce)

    async def note(self, entry: AuditEntry) -> None:
        """Keep an entry of the audit."""
        await self.audit().note(entry)

    def reserved(self, reservations: Sequence[Reservation], nonce: str) -> set[UUID]:
        """Those that a call has got, the second time too."""
        found = self._existing(one.id for one in reservations)
        return {document["_id"] for document in found if document.get("reserved_by") == nonce}

    async def pause_kind(self, kind: str, pause: Pause) -> KindPauses | None:
        was_paused = "paused" in self._kinds[kind]
        found = await super().pause_kind(kind, pause)
        if not was_paused:
            self.simulator.pauses.switched(kind, is_paused=True)
        return found

    async def resume_kind(self, kind: str, *, at: datetime) -> KindPauses | None:
        was_paused = "paused" in self._kinds[kind]
        found = await super().resume_kind(kind, at=at)
        if was_paused:
            self.simulator.pauses.switched(kind, is_paused=False)
        return found

    def _tell(self, document: Document, *, is_progress: bool = False) -> None:
        if not is_progress:
            self.simulator.observer.saw(document)


def verb_of(store: MemoryStore, name: str) -> Any:
    """A verb of the store, or of one of its parts: `part.verb`."""
    part, _, verb = name.rpartition(".")
    return getattr(getattr(store, part)() if part else store, verb)


class PartLine:
    """A part of the store over the line of a process."""

    def __init__(self, line: "StoreLine", part: str) -> None:
        self._line, self._part = line, part

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._line, f"{self._part}.{verb}")


def at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a verb of the store in memory, none of which waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("a verb of the store in memory waited")


class StoreLine:
    """`JobStore` as one process sees it."""

    def __init__(self, simulator: "Simulator", process: SimProcess, timeout_s: float) -> None:
        self._simulator = simulator
        self._process = process
        self._timeout_s = timeout_s

    async def close(self) -> None:
        """Closes the line."""

    def audit(self) -> "StoreLine":
        """The audit over the same line: `note` is one more verb."""
        return self

    def bulk_actions(self) -> PartLine:
        """The bulk actions over the same line."""
        return PartLine(self, "bulk_actions")

    def ledgers(self) -> PartLine:
        """The ledgers over the same line."""
        return PartLine(self, "ledgers")

    def callback_secrets(self) -> PartLine:
        """The secrets of callbacks over the same line."""
        return PartLine(self, "callback_secrets")

    def callback_endpoints(self) -> PartLine:
        """The callback endpoints over the same line."""
        return PartLine(self, "callback_endpoints")

    def choices(self) -> PartLine:
        """What finds the jobs of bulk actions, over the same line."""
        return PartLine(self, "choices")

    def __getattr__(self, verb: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await _Call(self._simulator, self._process, verb, args, kwargs, self._timeout_s).answered

        # Found at once from now on.
        self.__dict__[verb] = call
        return call


class _Call:
    """One call on its way there and back."""

    def __init__(
        self,
        simulator: "Simulator",
        process: SimProcess,
        verb: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout_s: float,
    ) -> None:
        self._simulator = simulator
        self._process = process
        self._verb = verb
        self._args = args
        self._kwargs = kwargs
        loop = simulator.loop
        self.answered = loop.create_future()
        self._sent_at = loop.time()
        if verb == "renew":
            simulator.ownership.asked(process, args[0])
        if verb == "claim":
            simulator.pauses.asked(process, kwargs["owner"].nonce)
        rates, chance = simulator.rates, simulator.rng.random
        self._is_unanswered = chance() < rates.store_unanswered
        self._is_twice = chance() < rates.store_twice and verb not in ONCE
        there_s, self._back_s = simulator.delay_s(), simulator.delay_s()
        is_refused = chance() < rates.store_refuses
        if verb in rates.slow_verbs:
            there_s += chance() * (SLOW_RENEWAL_S if verb == "renew" else timeout_s / 2)
            # Leases run out, and some are renewed just when the sweeper has seen them.
            is_refused = is_refused or (verb == "renew" and chance() < 0.6)
        if verb not in READS and chance() < rates.store_late:
            there_s = timeout_s * (0.7 + chance())
        if is_refused:
            refused_s = min(there_s, timeout_s)
            loop.outside_later(refused_s, self._fail, StoreUnavailable("no server answers"), "refused")
            return
        if there_s + self._back_s > timeout_s:
            loop.outside_later(timeout_s, self._fail, self._unknown(), "not answered in time")
        simulator.calls_under_way += 1
        loop.outside_later(there_s, self._arrive)

    def _arrive(self) -> None:
        simulator = self._simulator
        if simulator.store_is_away or simulator.is_cut_off(self._process):
            simulator.calls_under_way -= 1
            simulator.loop.outside_later(self._back_s + 0.5, self._fail, StoreUnavailable("no server answers"), "away")
            return
        jobs: Sequence[Any] = self._args[0] if self._verb in OF_SEVERAL else ()
        if len(jobs) > 1 and simulator.rng.random() < simulator.rates.store_torn:
            cut = simulator.rng.randint(1, len(jobs) - 1)
            first = self._carry_out(jobs[:cut])
            simulator.note(self._process.name, f"{self._verb} of {len(jobs)} torn after {cut}")
            simulator.loop.outside_later(simulator.delay_s(), self._arrive_rest, jobs, cut, first)
        else:
            self._finish(self._carry_out(None))

    def _arrive_rest(self, jobs: Sequence[Any], cut: int, first: Any) -> None:
        rest = self._carry_out(jobs[cut:])
        if isinstance(first, StoreError) or isinstance(rest, StoreError):
            self._finish(first if isinstance(first, StoreError) else rest)
        elif isinstance(first, dict):
            self._finish({**first, **rest})
        elif self._verb == "claim":
            # The read behind the write: what is the owner's now.
            self._finish(self._carry_out(None, again=True))
        else:
            self._finish(first | rest if isinstance(first, set) else [*first, *rest])

    def _carry_out(self, jobs: Sequence[Any] | None, *, again: bool = False) -> Any:
        args = self._args if jobs is None else (jobs, *self._args[1:])
        verb = verb_of(self._simulator.store, self._verb)
        self._simulator.acting = self._process
        try:
            result = at_once(verb(*args, **self._kwargs))
            if self._is_twice and not again:
                self._simulator.note(self._process.name, f"{self._verb} twice")
                result = at_once(verb(*args, **self._kwargs))
        except StoreError as error:
            return error
        finally:
            self._simulator.acting = None
        if self._verb in MOMENTS:
            self._simulator.long.moment(self._process)
        return result

    def _finish(self, result: Any) -> None:
        self._simulator.calls_under_way -= 1
        if self._is_unanswered:
            is_read_behind = self._verb in READ_BEHIND and self._simulator.rng.random() < 0.5
            error = StoreUnavailable("no server answers the read") if is_read_behind else self._unknown()
            self._simulator.loop.outside_later(self._back_s, self._fail, error, "done, answer lost")
        elif isinstance(result, StoreError):
            self._simulator.loop.outside_later(self._back_s, self._fail, result, "refused by the store")
        else:
            self._simulator.loop.outside_later(self._back_s, self._answer, result)

    def _answer(self, result: Any) -> None:
        if self._simulator.store_is_away or self._simulator.is_cut_off(self._process):
            self._fail(self._unknown(), "done, answer cut off")
        elif not self.answered.done():
            self.answered.set_result(result)
            if self._verb == "renew":
                self._simulator.ownership.told(self._process, self._sent_at, self._args[0], result)

    def _unknown(self) -> StoreError:
        if self._verb in READS:
            return StoreUnavailable("no answer in time")
        return OutcomeUnknown("the connection broke")

    def _fail(self, error: StoreError, why: str) -> None:
        if self.answered.done():
            return
        self._simulator.note(self._process.name, f"{self._verb}: {why}")
        if self._verb == "insert":
            # It never raises: it says of each job what is known.
            is_unknown = isinstance(error, OutcomeUnknown)
            found = Insertion.UNKNOWN if is_unknown else Insertion.NOT_STORED
            self.answered.set_result([found] * len(self._args[0]))
        elif self._verb in BY_NONCE and isinstance(error, OutcomeUnknown) and self._simulator.rng.random() < 0.5:
            # The real store then reads what carries its nonce, and that may be before the call takes effect.
            self.answered.set_result(self._carry_out_read())
        else:
            self.answered.set_exception(error)

    def _carry_out_read(self) -> Any:
        if self._verb == "reserve":
            return self._simulator.store.reserved(self._args[0], self._kwargs["nonce"])
        found = at_once(self._simulator.store.get_many(self._args[0]))
        nonce = self._kwargs["owner"].nonce
        return [claimed_job(job) for job in found.values() if job.owner is not None and job.owner.nonce == nonce]
