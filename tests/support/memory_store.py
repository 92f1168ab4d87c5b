"""An in-memory store for tests and demos: `JobStore` with the semantics of the MongoDB store.

It works on the same documents as the real store. No verb awaits between reading and writing, so each is atomic.
Nothing survives the process, and ended jobs stay until it ends.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec

from acked_common.model import lifecycle
from acked_common.model.attempts import ATTEMPTS_KEPT, TRACEBACKS_KEPT
from acked_common.model.batch_ends import BatchEnds, begin_of, ends_from, step_of
from acked_common.model.events import JobUpdate
from acked_common.model.instants import whole_ms
from acked_common.model.lifecycle import (
    FOR_WORKERS,
    HISTORY_KEPT,
    LIVE,
    TERMINAL,
    HistoryEntry,
    Move,
    Owner,
    Seen,
    State,
    Transition,
)
from acked_common.model.pauses import PAUSES_KEPT, KindPauses, Pause
from acked_common.model.payload_schemas import KEPT_FOR_S, SCHEMAS_KEPT
from acked_common.model.principal import DEFAULT_TENANT
from acked_common.model.topics import BATCH, COUNTED_WHOLE, IDS, Topic, topics_of
from acked_common.runtime.clock import Clock
from acked_common.store import list_limits
from acked_common.store.audit import MemoryAudit
from acked_common.store.callbacks import CallbackSecretStore, MemoryCallbackSecrets
from acked_common.store.errors import SchemaMismatch, StoreError
from acked_common.store.load_tests import MemoryLoadTests
from acked_common.store.mongo.change_events import origin_of, update_from_document
from acked_common.store.mongo.documents import (
    Document,
    attempt_document,
    claimed_job_from,
    counted_document,
    history_document,
    history_from,
    is_recorded,
    job_document,
    job_from,
    key_holder_from,
    kind_document,
    kind_from,
    pause_document,
    pauses_from,
    traceback_document,
    transition_fields,
    worker_document,
    worker_from,
)
from acked_common.store.mongo.field_names import DELETE_AT, NEXT_CHECK_AT, stored_name
from acked_common.store.mongo.list_filters import filter_fields, id_bounds, index_fields, listed_bytes
from acked_common.store.ports import JobChanges
from acked_common.store.records import (
    Applied,
    BatchCount,
    BatchPage,
    BatchSummary,
    Changes,
    ClaimedJob,
    Insertion,
    Job,
    JobFilter,
    JobPage,
    KeyHolder,
    KindRecord,
    Lease,
    NewJob,
    ProgressReport,
    Reservation,
    Revision,
    SweepPosition,
    TopicCount,
    WaitExtension,
    WorkerRecord,
)
from acked_common.store.tokens import MemoryTokens, TokenStore
from support.memory_bulk_actions import MemoryBulkActions, MemoryChoices
from support.memory_callback_endpoints import MemoryCallbackEndpoints
from support.memory_callbacks import MemoryCallbacks
from support.memory_census import MemoryCensus
from support.memory_ledgers import MemoryLedgers
from support.memory_limits import MemoryLimits
from support.memory_minutes import MemoryMinutes
from support.memory_parked import MemoryParked
from support.memory_schedules import MemorySchedules
from support.memory_signals import MemorySignals

CHANGES_WAIT_S = 0.05

_LISTED_WITHOUT = frozenset({"payload", "result", "attempts", "tracebacks"})
_BODIES = _LISTED_WITHOUT | {"history"}


def _kept(value: Any) -> Any:
    """Return the value as MongoDB returns it: a copy with instants in UTC, truncated to milliseconds."""
    if isinstance(value, datetime):
        return whole_ms(value.astimezone(UTC))
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, Mapping):
        return {name: _kept(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_kept(item) for item in value]
    return value


def _is_sound(document: Document) -> bool:
    """Check as the real store's validator does: a next check exactly while live, an end exactly when ended."""
    is_live = not State(document["state"]).is_terminal
    if is_live:
        return NEXT_CHECK_AT in document and DELETE_AT not in document
    return NEXT_CHECK_AT not in document and DELETE_AT in document and "owner" not in document


def _fits(document: Document | None, seen: Seen, transition: Transition) -> bool:
    """Compare, for the compare-and-set."""
    if document is None:
        return False
    return (
        document["state"] == seen.state.value
        and document["rev"] == seen.rev
        and document["attempt"] == seen.attempt
        and (seen.nonce is None or _nonce(document) == seen.nonce)
        and (seen.next_check_at is None or document.get(NEXT_CHECK_AT) == whole_ms(seen.next_check_at))
        and (seen.signals is None or document.get("signals", 0) <= seen.signals)
        and not (transition.unless_cancelling and "cancel_requested_at" in document)
    )


def _nonce(document: Document) -> str | None:
    owner = document.get("owner")
    return None if owner is None else owner["nonce"]


def _moved(document: Document, move: Move) -> Document:
    """Return the document after the move."""
    transition = move.transition
    after = dict(document)
    for name, value in _kept(transition_fields(transition)).items():
        outer, _, inner = name.partition(".")
        after[outer] = {**after.get(outer, {}), inner: value} if inner else value
    after["rev"] += 1
    for name, by in transition.adds.items():
        after[name] = after.get(name, 0) + by
    after["history"] = [*document["history"], _kept(history_document(move.history_entry))][-HISTORY_KEPT:]
    if (ended := transition.ended) is not None:
        after["attempts"] = [*after.get("attempts", ()), _kept(attempt_document(ended))][-ATTEMPTS_KEPT:]
        if ended.traceback is not None:
            after["tracebacks"] = [*after.get("tracebacks", ()), _kept(traceback_document(ended))][-TRACEBACKS_KEPT:]
    for name in transition.clears:
        outer, _, inner = stored_name(name).partition(".")
        if not inner:
            after.pop(outer, None)
        elif outer in after:
            after[outer] = {key: value for key, value in after[outer].items() if key != inner}
    return after


def _job(document: Document, *, without: frozenset[str] = frozenset()) -> Job:
    # Only an error is a mutable value that a caller would share with the store.
    own = {"error": deepcopy(document["error"])} if "error" in document else {}
    return job_from({**{name: value for name, value in document.items() if name not in without}, **own})


class MemoryChanges:
    """`JobChanges` of an in-memory store."""

    def __init__(self, streams: "set[MemoryChanges]") -> None:
        self._streams = streams
        self._told: list[JobUpdate] = []
        self._told_more = asyncio.Event()

    def tell(self, news: JobUpdate) -> None:
        """Deliver an update to the followers."""
        self._told.append(news)
        self._told_more.set()

    async def open(self) -> None:
        self._streams.add(self)

    async def read(self) -> Changes:
        await self.open()
        try:
            async with asyncio.timeout(CHANGES_WAIT_S):
                await self._told_more.wait()
        except TimeoutError:
            pass
        told, self._told = self._told, []
        self._told_more.clear()
        return Changes(told, is_current=True)

    async def close(self) -> None:
        self._streams.discard(self)
        self._told.clear()
        self._told_more.clear()


class MemoryStore(MemoryCallbacks, MemoryCensus, MemoryLimits, MemoryMinutes, MemoryParked, MemorySignals):
    """`JobStore` in memory; `clock` is its server's clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._jobs: dict[UUID, Document] = {}
        self._keys: dict[tuple[str, str], UUID] = {}
        self._kinds: dict[str, Document] = {}
        self._workers: dict[str, Document] = {}
        self._lanes: dict[str, datetime] = {}
        self._turns: dict[str, tuple[datetime, str | None]] = {}
        self._tokens = MemoryTokens()
        self._audit = MemoryAudit()
        self._callback_secrets = MemoryCallbackSecrets()
        self._callback_endpoints = MemoryCallbackEndpoints()
        self._load_tests = MemoryLoadTests()
        self._ledgers = MemoryLedgers(self._jobs, clock)
        self._bulk_actions = MemoryBulkActions(clock)
        self._schedules = MemorySchedules(clock)
        self._has_schema = False
        self._id = str(uuid4())
        self._streams: set[MemoryChanges] = set()

    async def close(self) -> None:
        """Do nothing; part of the real store's interface."""

    async def insert(self, jobs: Sequence[NewJob]) -> list[Insertion]:
        return [self._insert_one(job) for job in jobs]

    def _insert_one(self, job: NewJob) -> Insertion:
        document: Document = _kept(job_document(job))
        if not _is_sound(document):
            return Insertion.NOT_STORED
        if job.id in self._jobs:
            return Insertion.STORED
        if job.key is not None and self._keys.setdefault((job.tenant, job.key.text), job.id) != job.id:
            return Insertion.KEY_TAKEN
        self._jobs[job.id] = document
        self._tell(document)
        return Insertion.STORED

    async def key_holder(self, tenant: str, key: str) -> KeyHolder | None:
        job_id = self._keys.get((tenant, key))
        return None if job_id is None else key_holder_from(self._jobs[job_id])

    async def get(self, job_id: UUID, *, tenant: str = DEFAULT_TENANT) -> Job | None:
        document = self._jobs.get(job_id)
        return None if document is None or document["tenant"] != tenant else _job(document)

    async def get_many(self, ids: Sequence[UUID]) -> dict[UUID, Job]:
        return {document["_id"]: _job(document) for document in self._existing(ids)}

    async def histories(self, ids: Sequence[UUID]) -> dict[UUID, Sequence[HistoryEntry]]:
        return {document["_id"]: history_from(document) for document in self._existing(ids)}

    def _existing(self, ids: Iterable[UUID]) -> list[Document]:
        return [self._jobs[job_id] for job_id in dict.fromkeys(ids) if job_id in self._jobs]

    async def claim(
        self, ids: Sequence[UUID], *, kinds: Sequence[str], owner: Owner, lease_s: float, at: datetime
    ) -> list[ClaimedJob]:
        transition = lifecycle.claim(at=at, owner=owner, lease_s=lease_s)
        for document in self._existing(ids):
            state = State(document["state"])
            if state in transition.leaves and document["kind"] in kinds and document["expires_at"] > at:
                seen = Seen(document["_id"], state, document["rev"], document["attempt"], at=document.get("queued_at"))
                lease = {NEXT_CHECK_AT: self._clock.now() + timedelta(milliseconds=int(lease_s * 1000))}
                self._jobs[seen.id] = _moved(document, Move(seen, transition)) | lease
                self._tell(self._jobs[seen.id])
        return [
            claimed_job_from(document, owner.nonce)
            for document in self._existing(ids)
            if document["state"] == transition.to.value and _nonce(document) == owner.nonce
        ]

    async def apply(self, moves: Sequence[Move]) -> list[Applied]:
        refused = 0
        for move in moves:
            document = self._jobs.get(move.seen.id)
            if document is None or not _fits(document, move.seen, move.transition):
                continue
            if move.until_at is not None and self._clock.now() >= move.until_at:
                continue
            after = _moved(document, move)
            if _is_sound(after):
                self._jobs[move.seen.id] = after
                self._tell(after)
            else:
                refused += 1
        if refused:
            raise StoreError(f"moving jobs: {refused} would not be sound")
        return [
            Applied.APPLIED if is_recorded(move, self._jobs.get(move.seen.id, {})) else Applied.STALE for move in moves
        ]

    async def renew(self, ids: Sequence[UUID], *, boot: str, lease_s: float) -> dict[UUID, Lease]:
        lease_until = self._clock.now() + timedelta(milliseconds=int(lease_s * 1000))
        leases: dict[UUID, Lease] = {}
        for d in self._existing(ids):
            if d["state"] == State.RUNNING.value and d["owner"]["boot"] == boot:
                d[NEXT_CHECK_AT] = lease_until
                leases[d["_id"]] = Lease(
                    d["_id"], d["attempt"], _nonce(d), d["rev"], "cancel_requested_at" in d, d.get("signals", 0)
                )
        return leases

    async def report_progress(self, reports: Sequence[ProgressReport]) -> None:
        for report in reports:
            document = self._jobs.get(report.id)
            if (
                document is not None
                and document["state"] == State.RUNNING.value
                and document["attempt"] == report.attempt
                and _nonce(document) == report.nonce
            ):
                document["progress"] = bytes(report.progress)
                self._tell(document, is_progress=True)

    async def live_jobs(
        self, state: State, *, limit: int, after: SweepPosition | None = None, kinds: Sequence[str] | None = None
    ) -> list[Job]:
        now = self._clock.now()
        due = [
            document
            for document in self._jobs.values()
            if document["state"] == state.value
            and NEXT_CHECK_AT in document
            and document[NEXT_CHECK_AT] <= now
            and (after is None or (document[NEXT_CHECK_AT], document["_id"]) > (after.next_check_at, after.id))
            and (kinds is None or document["kind"] in kinds)
        ]
        due.sort(key=lambda document: (document[NEXT_CHECK_AT], document["_id"]))
        return [_job(document, without=_BODIES) for document in due[:limit]]

    async def take_turn(self, name: str, *, for_s: float, holder: str | None = None) -> bool:
        now = self._clock.now()
        free_at, by = self._turns.get(name, (now, None))
        if free_at > now and (holder is None or by != holder):
            return False
        self._turns[name] = now + timedelta(milliseconds=int(for_s * 1000)), holder
        return True

    async def reserve(self, reservations: Sequence[Reservation], *, nonce: str) -> set[UUID]:
        got: set[UUID] = set()
        for one in reservations:
            document = self._jobs.get(one.id)
            if (
                document is not None
                and document["state"] == State.QUEUED.value
                and document[NEXT_CHECK_AT] == whole_ms(one.seen_check_at)
            ):
                document[NEXT_CHECK_AT] = _kept(one.next_check_at)
                document["republished"] = document.get("republished", 0) + 1
                document["reserved_by"] = nonce
                got.add(one.id)
        return got

    async def extend_waits(self, extensions: Sequence[WaitExtension]) -> None:
        for one in extensions:
            document = self._jobs.get(one.id)
            if (
                document is not None
                and document["state"] == State.QUEUED.value
                and document["expires_at"] == whole_ms(one.seen_expires_at)
            ):
                document["expires_at"] = _kept(one.wait.expires_at)
                if one.wait.counted is not None:
                    document["counted_pauses"] = _kept(counted_document(one.wait.counted))

    async def give_back(self, ids: Sequence[UUID], *, nonce: str, next_check_at: datetime) -> None:
        for document in self._existing(ids):
            if document.get("reserved_by") == nonce:
                document[NEXT_CHECK_AT] = _kept(next_check_at)
                document["republished"] -= 1
                del document["reserved_by"]

    async def revisions(self, ids: Sequence[UUID]) -> dict[UUID, Revision]:
        return {d["_id"]: Revision(d["rev"], State(d["state"])) for d in self._existing(ids)}

    async def list_jobs(self, job_filter: JobFilter, *, page_size: int, before: UUID | None = None) -> JobPage:
        wanted = filter_fields(job_filter)
        indexed = {name: wanted[name] for name in index_fields(job_filter)}
        lowest, above_all = id_bounds(job_filter)
        span = [
            self._jobs[job_id]
            for job_id in sorted(self._jobs, reverse=True)
            if (before is None or job_id < before)
            and (above_all is None or job_id < above_all)
            and (lowest is None or job_id >= lowest)
            and _shows(self._jobs[job_id], indexed)
        ]
        floor: UUID | None = None
        if indexed != wanted and len(span) >= list_limits.LIST_SCAN_LIMIT:
            del span[list_limits.LIST_SCAN_LIMIT :]
            floor = span[-1]["_id"]
        jobs: list[Job] = []
        size = 0
        for document in span:
            if not _shows(document, wanted):
                continue
            if len(jobs) == page_size or (jobs and size > list_limits.LIST_BYTES):
                return JobPage(jobs, jobs[-1].id)
            jobs.append(_job(document, without=_LISTED_WITHOUT))
            size += listed_bytes(document)
        return JobPage(jobs, floor)

    async def count_batch(self, batch: str, *, tenant: str = DEFAULT_TENANT) -> BatchCount | None:
        topic = Topic(tenant, BATCH, batch)
        found = [document for document in self._jobs.values() if _is_in(document, topic)]
        if not found:
            return None
        first_at = min(document["accepted_at"] for document in found)
        is_exact = len(found) <= (most := list_limits.BATCH_COUNTED)
        if not is_exact:
            newest = sorted(found, key=lambda document: document["_id"], reverse=True)
            found = [one for state in State for one in [d for d in newest if d["state"] == state.value][:most]]
        states = {State(state): count for state, count in Counter(document["state"] for document in found).items()}
        last_at = max(d[name] for d in found for name in ("accepted_at", "finished_at") if name in d)
        return BatchCount(states, first_at, last_at, is_exact)

    async def batch_ends(self, batch: str, *, tenant: str = DEFAULT_TENANT) -> BatchEnds | None:
        topic, most = Topic(tenant, BATCH, batch), list_limits.BATCH_ENDS_READ
        found = [document for _, document in sorted(self._jobs.items(), reverse=True) if _is_in(document, topic)]
        if not found:
            return None
        of_states = {state: [one for one in found if one["state"] == state][:most] for state in TERMINAL}
        ends = [(one["finished_at"], state) for state, ended in of_states.items() for one in ended]
        is_complete = all(len(ended) < most for ended in of_states.values())
        step_s = step_of(min(ends)[0], max(ends)[0]) if ends else 1
        counts = Counter((begin_of(at, step_s), state) for at, state in ends)
        return ends_from(((at, state, count) for (at, state), count in counts.items()), step_s, is_complete=is_complete)

    async def list_batches(self, tenant: str, *, page_size: int, before: UUID | None = None) -> BatchPage:
        jobs: dict[str, list[Document]] = {}
        for job_id in sorted(self._jobs, reverse=True):
            document = self._jobs[job_id]
            if document["tenant"] == tenant and "batch" in document:
                jobs.setdefault(document["batch"], []).append(document)
        newest = [(name, found[0]["_id"]) for name, found in jobs.items() if before is None or found[0]["_id"] < before]
        listed: list[BatchSummary] = []
        most = list_limits.BATCH_JOBS_COUNTED
        for name, job_id in newest[:page_size]:
            counted = sorted(document["state"] for document in jobs[name])[:most]
            states = {State(state): count for state, count in Counter(counted).items()}
            listed.append(BatchSummary(name, job_id, states, len(counted) < most))
        return BatchPage(listed, listed[-1].newest_id if len(newest) > page_size else None)

    async def look(self, topic: Topic, *, limit: int) -> list[JobUpdate] | None:
        found = [update_from_document(document) for document in self._jobs.values() if _is_in(document, topic)]
        return None if len(found) > limit else found

    async def count(self, topic: Topic, *, at_most: int) -> TopicCount:
        is_whole, most = topic.name in COUNTED_WHOLE, list_limits.BATCH_COUNTED
        counts: Counter[State] = Counter()
        looked_at: Counter[State] = Counter()
        for document in self._jobs.values():
            state = State(document["state"])
            if is_whole:
                counts[state] += _is_in(document, topic)
            elif state in LIVE | {State.FAILED} and (state in LIVE or document["tenant"] == topic.tenant):
                looked_at[state] += looked_at[state] < at_most + 1
                counts[state] += _is_in(document, topic) and looked_at[state] <= at_most
        counts = +counts
        if not is_whole:
            return TopicCount(counts, at_most, sum(min(count, at_most) for count in looked_at.values()))
        bound = None if max(counts.values(), default=0) <= most else most
        states = {state: min(count, most) for state, count in counts.items()}
        return TopicCount(states, bound, sum(min(count, most + 1) for count in counts.values()))

    async def count_waiting(self, *, at_most: int) -> int:
        return sum((await self.count_waiting_by_tenant(at_most=at_most)).values())

    async def count_waiting_by_tenant(self, *, at_most: int) -> dict[str, int]:
        tenants: dict[State, list[str]] = {state: [] for state in FOR_WORKERS}
        for document in self._jobs.values():
            if (state := State(document["state"])) in FOR_WORKERS:
                tenants[state].append(document["tenant"])
        return dict(Counter(tenant for found in tenants.values() for tenant in found[:at_most]))

    def changes(self) -> JobChanges:
        return MemoryChanges(self._streams)

    def _tell(self, document: Document, *, is_progress: bool = False) -> None:
        news = update_from_document(document)
        left_out = {"event": None} if is_progress else {"progress": None}
        news = msgspec.structs.replace(news, **left_out)
        for stream in self._streams:
            stream.tell(news)

    def callback_secrets(self) -> CallbackSecretStore:
        """Return the secrets of callbacks of the same database."""
        return self._callback_secrets

    def callback_endpoints(self) -> MemoryCallbackEndpoints:
        """Return the callback endpoints of the same database."""
        return self._callback_endpoints

    def tokens(self) -> TokenStore:
        """Return the token store of the same data."""
        return self._tokens

    def load_tests(self) -> MemoryLoadTests:
        return self._load_tests

    def audit(self) -> MemoryAudit:
        """Return the audit of the same data."""
        return self._audit

    def bulk_actions(self) -> MemoryBulkActions:
        """Return the bulk actions of the same data."""
        return self._bulk_actions

    def ledgers(self) -> MemoryLedgers:
        """Return the ledgers of the same data."""
        return self._ledgers

    def schedules(self) -> MemorySchedules:
        """Return the schedules of the same data."""
        return self._schedules

    def choices(self) -> MemoryChoices:
        """Return what finds the jobs of bulk actions."""
        return MemoryChoices(self._jobs)

    async def register_kinds(self, kinds: Sequence[KindRecord]) -> None:
        for kind in kinds:
            document = self._kinds.setdefault(kind.name, {"_id": kind.name})
            made = _kept(kind_document(kind))
            if own := [one | {"seen_at": self._clock.now()} for one in made.pop("schemas", ())]:
                oldest = self._clock.now() - timedelta(seconds=KEPT_FOR_S)
                known = {one["digest"] for one in own}
                others = [
                    one
                    for one in document.get("schemas", ())
                    if one["digest"] not in known and one["seen_at"] >= oldest
                ]
                made["schemas"] = [*own, *others][:SCHEMAS_KEPT]
            document.update(made)

    async def kinds(self) -> dict[str, KindRecord]:
        return {name: kind_from(document) for name, document in self._kinds.items()}

    async def pause_kind(self, kind: str, pause: Pause) -> KindPauses | None:
        if (document := self._kinds.get(kind)) is None:
            return None
        document.setdefault("paused", _kept(pause_document(pause)))
        return pauses_from(document)

    async def resume_kind(self, kind: str, *, at: datetime) -> KindPauses | None:
        if (document := self._kinds.get(kind)) is None:
            return None
        if (paused := document.pop("paused", None)) is not None:
            since_at = paused["since_at"]
            past = {"from_at": since_at, "to_at": max(_kept(at), since_at)}
            document["pauses"] = [*document.get("pauses", ()), past][-PAUSES_KEPT:]
        return pauses_from(document)

    async def pauses(self) -> dict[str, KindPauses]:
        return {
            name: pauses_from(document)
            for name, document in self._kinds.items()
            if document.keys() & {"paused", "pauses", "limit"}
        }

    async def refresh_worker(self, worker: WorkerRecord) -> bool:
        document = self._workers.setdefault(worker.boot, {"_id": worker.boot})
        document.update(_kept(worker_document(worker)))
        return bool(document.get("drain_requested", False))

    async def forget_worker(self, boot: str) -> None:
        self._workers.pop(boot, None)

    async def request_drain(self, boot: str) -> bool:
        if boot in self._workers:
            self._workers[boot]["drain_requested"] = True
        return boot in self._workers

    async def workers(self, *, seen_within_s: float) -> list[WorkerRecord]:
        oldest = self._clock.now() - timedelta(milliseconds=int(seen_within_s * 1000))
        fresh = (worker_from(document) for document in self._workers.values() if document["seen_at"] >= oldest)
        return sorted(fresh, key=lambda worker: worker.name)

    async def raise_watermark(self, lane: str, taken_at: datetime) -> None:
        taken_at = _kept(taken_at)
        self._lanes[lane] = max(taken_at, self._lanes.get(lane, taken_at))

    async def watermarks(self) -> dict[str, datetime]:
        return dict(self._lanes)

    async def server_time(self) -> datetime:
        return self._clock.now()

    async def database_id(self) -> str | None:
        return self._id if self._has_schema else None

    async def check_schema(self) -> None:
        if not self._has_schema:
            raise SchemaMismatch("the store in memory has no schema yet: call ensure_schema")

    async def ensure_schema(self) -> None:
        """Create the schema, as `init` does on the real store."""
        self._has_schema = True


def _matches(found: Any, value: Any) -> bool:
    """Whether a nested field is the value, or a list that has one of several."""
    return bool(set(found or ()) & set(value["$in"])) if isinstance(value, dict) else found == value


def _shows(document: Document, fields: Mapping[str, Any]) -> bool:
    """Whether the document has each of the values; for a list, whether it contains them."""

    def fits(name: str, value: Any) -> bool:
        outer, _, inner = name.partition(".")
        found = document.get(outer)
        if inner:
            return _matches((found or {}).get(inner), value)
        if isinstance(value, Mapping):
            return found not in value["$nin"]
        return value in (found or ()) if name == "tags" else found == value

    return all(fits(name, value) for name, value in fields.items())


def _is_in(document: Document, topic: Topic) -> bool:
    if topic.name == IDS:
        return document["tenant"] == topic.tenant and document["_id"] in topic.ids
    return topic in topics_of(origin_of(document))
