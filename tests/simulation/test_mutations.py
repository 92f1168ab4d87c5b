"""The simulation can fail: each of these faults, built in on purpose, is found within few seeds."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ClassVar
from uuid import UUID

import pytest
from msgspec.structs import replace

from acked_common.broker.rabbitmq.consumer_state import ConsumerState
from acked_common.broker.rabbitmq.lane_consumer import Delivery
from acked_common.model.audit import AuditEntry
from acked_common.model.bundle import Bundle
from acked_common.model.lifecycle import Move, State
from acked_common.model.pauses import KindPauses
from acked_common.outcomes.outcome import Crashed, InterruptReason
from acked_common.store.mongo.documents import Document
from acked_common.store.records import Applied, ClaimedJob, Insertion, Job, NewJob, Reservation
from acked_gateway.bulk import rules as bulk_rules
from acked_intake.accept.group_commit import GroupCommit
from acked_worker.consume.in_flight import InFlight
from acked_worker.consume.lane_runner import LaneRunner
from acked_worker.consume.slots import Slots
from acked_worker.handler_runner import HandlerRunner
from acked_worker.isolate.attempts import Effect, IsolatedAttempt, IsolatedAttempts, Phase
from acked_worker.record.recorder import Recorder
from simulation.fault_plan import KNOBS
from simulation.isolated_processes import SimFence
from simulation.mutations import first_broken
from simulation.ownership import LEASE_S
from simulation.sim_store import ObservedStore
from simulation.simulator import run
from simulation.trace import report


class ForgetsWhoOwns(ObservedStore):
    """A move applies to whatever attempt holds the job now."""

    async def apply(self, moves: Sequence[Move]) -> list[Applied]:
        return await super().apply([self._as_it_is(move) for move in moves])

    def _as_it_is(self, move: Move) -> Move:
        found = self._jobs.get(move.seen.id)
        if found is None or found["state"] != move.seen.state.value:
            return move
        return replace(move, seen=replace(move.seen, rev=found["rev"], attempt=found["attempt"], nonce=None))


class ForgetsTheRenewal(ObservedStore):
    """A lease that was renewed since it was read is taken back all the same."""

    alone: ClassVar = {"slow_verbs": ("renew", "apply")}

    async def apply(self, moves: Sequence[Move]) -> list[Applied]:
        return await super().apply([replace(move, seen=replace(move.seen, next_check_at=None)) for move in moves])


class ForgetsTheCancel(ObservedStore):
    """Nobody sees that a cancel was asked for, and it does not win over retry, release and take-back."""

    async def apply(self, moves: Sequence[Move]) -> list[Applied]:
        blind = [replace(move, transition=replace(move.transition, unless_cancelling=False)) for move in moves]
        return await super().apply(blind)

    async def get_many(self, ids: Sequence[UUID]) -> dict[UUID, Job]:
        return {job_id: replace(job, cancel_requested=False) for job_id, job in (await super().get_many(ids)).items()}

    async def live_jobs(self, state: State, **options: Any) -> list[Job]:
        return [replace(job, cancel_requested=False) for job in await super().live_jobs(state, **options)]


class LosesTheAudit(ObservedStore):
    """An entry of the audit is said to be kept, and is not."""

    async def note(self, entry: AuditEntry) -> None:
        """Keep nothing."""


class KeepsTheRev(ObservedStore):
    """A move does not raise the rev."""

    def _tell(self, document: Document, *, is_progress: bool = False) -> None:
        if document["rev"] > 1 and not is_progress:
            document["rev"] -= 1
        super()._tell(document, is_progress=is_progress)


class TakesBackEarly(ObservedStore):
    """Running jobs count as lost before their lease is over."""

    async def live_jobs(self, state: State, **options: Any) -> list[Job]:
        if state is State.RUNNING:
            return [job for job in (await self.get_many(list(self._jobs))).values() if job.state is state]
        return await super().live_jobs(state, **options)


class NeverLooksAt(ObservedStore):
    """The sweeper never sees jobs in one state."""

    hidden: State

    async def live_jobs(self, state: State, **options: Any) -> list[Job]:
        return [] if state is self.hidden else await super().live_jobs(state, **options)


class LosesLeases(NeverLooksAt):
    """No lease is ever taken back."""

    hidden = State.RUNNING


class LosesBundles(NeverLooksAt):
    """Nothing is ever published again."""

    hidden = State.QUEUED


class LosesDelays(NeverLooksAt):
    """Nothing ever becomes due."""

    hidden = State.SCHEDULED


class ClaimsTwice(ObservedStore):
    """A bundle that is delivered twice is claimed twice."""

    async def claim(self, ids: Sequence[UUID], **options: Any) -> list[ClaimedJob]:
        for job_id in ids:
            found = self._jobs.get(job_id)
            if found is not None and found["state"] == State.RUNNING.value:
                expires_at = datetime.max.replace(tzinfo=UTC)
                self._jobs[job_id] = {**found, "state": State.QUEUED.value, "expires_at": expires_at}
        return await super().claim(ids, **options)


class AnswersTooSoon(ObservedStore):
    """Some requests are confirmed and not kept."""

    async def insert(self, jobs: Sequence[NewJob]) -> list[Insertion]:
        kept = [job for job in jobs if job.id.int % 20]
        await super().insert(kept)
        return [Insertion.STORED] * len(jobs)


class RefusesWhatItKeeps(ObservedStore):
    """Some requests are kept and called refused."""

    async def insert(self, jobs: Sequence[NewJob]) -> list[Insertion]:
        found = await super().insert(jobs)
        return [Insertion.NOT_STORED if job.id.int % 20 == 0 else one for job, one in zip(jobs, found, strict=True)]


class NeverReserves(ObservedStore):
    """A job that was published again is published again at each look."""

    alone: ClassVar = {"publish_vanishes": 0.9}

    async def reserve(self, reservations: Sequence[Reservation], *, nonce: str) -> set[UUID]:
        return {one.id for one in reservations}


class ForgetsSuspects(ObservedStore):
    """A job whose worker was lost is no suspect."""

    async def claim(self, ids: Sequence[UUID], **options: Any) -> list[ClaimedJob]:
        return [replace(job, suspect=False) for job in await super().claim(ids, **options)]


class CountsCrashesTwice(ObservedStore):
    """The second crash counts as the third."""

    async def claim(self, ids: Sequence[UUID], **options: Any) -> list[ClaimedJob]:
        return [replace(job, crashes=2 * job.crashes) for job in await super().claim(ids, **options)]


class ForgetsAttempts(ObservedStore):
    """A job keeps no attempt that failed."""

    async def apply(self, moves: Sequence[Move]) -> list[Applied]:
        return await super().apply([replace(move, transition=replace(move.transition, ended=None)) for move in moves])


class ForgetsKeys(ObservedStore):
    """A key is held by nobody."""

    async def insert(self, jobs: Sequence[NewJob]) -> list[Insertion]:
        return await super().insert([replace(job, key=None) for job in jobs])


@pytest.mark.parametrize(
    ("store_class", "rules"),
    [
        (ForgetsWhoOwns, {"I2", "I3", "I4", "attempts", "cancel", "crashes"}),
        (ForgetsTheRenewal, {"I4", "steps"}),
        (ForgetsTheCancel, {"cancel"}),
        (LosesTheAudit, {"audit"}),
        (KeepsTheRev, {"I2"}),
        (TakesBackEarly, {"I4"}),
        (LosesLeases, {"I1"}),
        (LosesBundles, {"I1"}),
        (LosesDelays, {"I1"}),
        (ClaimsTwice, {"I3", "I4"}),
        (AnswersTooSoon, {"I1"}),
        (RefusesWhatItKeeps, {"I5"}),
        (NeverReserves, {"flood"}),
        (ForgetsSuspects, {"suspects"}),
        (CountsCrashesTwice, {"crashes"}),
        (ForgetsAttempts, {"attempts"}),
        (ForgetsKeys, {"I6"}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_broken_store_is_found(store_class: type[ObservedStore], rules: set[str]) -> None:
    # Where only one fault in a hundred seeds shows it, that fault comes alone and in every seed.
    alone = getattr(store_class, "alone", None)
    without = KNOBS if alone else ()
    result = first_broken(lambda seed: run(seed, store_class=store_class, without=without, rates=alone))
    assert result.violations[0].rule in rules, report(result)


def _never_gives(slots: Slots, lane: str, count: int = 1) -> None:
    """Slots of ended jobs stay taken."""


async def _drops(recorder: Recorder, batch: list[Any], weight: int) -> None:
    """An outcome is forgotten once it could not be recorded at once."""
    moves_left = await recorder._apply(batch, set())
    recorder._window.end(len(batch))
    recorder._held_bytes -= weight
    for held, _ in batch:
        if held not in [left for left, _ in moves_left]:
            recorder._running.remove(held)
    recorder._flush()


async def _keeps_blindly(commit: GroupCommit, job: NewJob, *, overdue_at: float | None = None) -> Insertion:
    """The client is answered before the commit."""
    commit._tasks.spawn(commit._writer.insert([job]), "insert")
    return Insertion.STORED


async def _starts_nothing(flow: LaneRunner, delivery: Any) -> None:
    """A bundle is claimed and acknowledged, and its jobs never start, while their leases are renewed."""
    claimed = await flow._claims.claim(delivery.bundle)
    flow._running.add(InFlight(job, flow.lane, 0.0) for job in claimed or ())
    await delivery.ack()


def _interrupts_not(*ignored: InterruptReason) -> Callable[..., None]:
    """What a renewal tells is not passed on to handlers."""
    interrupt = HandlerRunner.interrupt

    def broken(runners: HandlerRunner, held: InFlight, reason: InterruptReason) -> None:
        if reason not in ignored:
            interrupt(runners, held, reason)

    return broken


async def _lets_go_too_early(recorder: Recorder, batch: list[Any], weight: int) -> None:
    """Leases are not renewed while an outcome waits for the store."""
    for held, _ in batch:
        recorder._running.remove(held)
    await _record(recorder, batch, weight)


_record = Recorder._record

FAULTS_OF_THE_STORE = {"slow", "store_unanswered", "store_late", "process cut off from the store", "store away"}
ALONE: Mapping[object, Mapping[str, Any]] = {_lets_go_too_early: {"slow_verbs": ("apply",)}}
"""Where only one fault in hundreds of seeds shows a mutation, that fault comes in every seed, beside the store's."""


async def _starts_late(flow: LaneRunner, bundle: Bundle) -> bool:
    """Jobs start long after they were claimed, when their leases may be over."""
    claimed = await flow._claims.claim(bundle)
    await asyncio.sleep(2 * LEASE_S)
    flow._start([replace(job, started_at=flow._clock.now()) for job in claimed or ()], bundle.queued_at)
    for job in claimed or ():
        # What is recorded of the attempt stays true.
        if (held := flow._running.get(str(job.id), job.attempt)) is not None:
            held.job = job
    return claimed is not None


def _blames_all(attempts: IsolatedAttempts, one: IsolatedAttempt, now: float) -> list[Effect]:
    """A process that dies before its handler begins counts as a crash."""
    if one.phase in (Phase.STARTING, Phase.RUNNING):
        return attempts._leave(one, Crashed("unknown"), now)
    return []


def _loses_places(attempts: IsolatedAttempts) -> list[IsolatedAttempt]:
    """A place that is free is never taken again."""
    started = _start_waiting(attempts)
    attempts._most -= len(started)
    return started


_start_waiting = IsolatedAttempts.start_waiting


async def _acknowledges_nothing(delivery: Delivery) -> None:
    """A bundle stays in hand for ever."""


@pytest.mark.parametrize(
    ("part", "name", "broken", "rules"),
    [
        (HandlerRunner, "interrupt", _interrupts_not(InterruptReason.LEASE_LOST), {"lease"}),
        (HandlerRunner, "interrupt", _interrupts_not(InterruptReason.CANCELLED), {"cancel"}),
        (Recorder, "_record", _lets_go_too_early, {"lease"}),
        # Handlers go on after a pause before a renewal tells what is still theirs.
        (SimFence, "is_open", True, {"lease"}),
        (LaneRunner, "_take", _starts_late, {"lease"}),
        (Slots, "give", _never_gives, {"I1", "rest"}),
        (Recorder, "_record", _drops, {"I1", "rest"}),
        (GroupCommit, "keep", _keeps_blindly, {"I1"}),
        (LaneRunner, "_handle", _starts_nothing, {"I1"}),
        (IsolatedAttempts, "hung_up", _blames_all, {"crashes"}),
        (IsolatedAttempts, "start_waiting", _loses_places, {"I1", "rest"}),
        (ConsumerState, "resume", lambda state, reason: False, {"I1", "I8"}),
        (Delivery, "ack", _acknowledges_nothing, {"I1", "I8"}),
        # Workers go on with a paused kind, or never again; or its jobs grow old meanwhile.
        (LaneRunner, "pause", lambda lane: None, {"pause"}),
        (LaneRunner, "resume", lambda lane: None, {"I1", "I8"}),
        (KindPauses, "paused_between", lambda *_: timedelta(0), {"time"}),
        # The next owner of a bulk action does not see what the former one has moved.
        (bulk_rules, "was_moved_by", lambda job, action: False, {"bulk"}),
    ],
    ids=[
        "lost lease",
        "cancel",
        "lets go",
        "gate",
        "late",
        "slots",
        "recorder",
        "commit",
        "flow",
        "blame",
        "places",
        "resume",
        "ack",
        "no pause",
        "no end of a pause",
        "expiry in a pause",
        "bulk action",
    ],
)
def test_a_broken_part_is_found(
    part: object, name: str, broken: object, rules: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part, name, broken)
    alone = ALONE.get(broken)
    result = first_broken(partial(run, without=[*{*KNOBS} - FAULTS_OF_THE_STORE] if alone else (), rates=alone))
    assert result.violations[0].rule in rules, report(result)
