"""The accept path: what becomes of a checked submission."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from acked_common.background.bundle_publisher import BundlePublisher
from acked_common.background.job_writer import JobWriter
from acked_common.background.kind_cache import KindCache
from acked_common.background.store_monitor import StoreMonitor
from acked_common.http.problems import Problem, ProblemError
from acked_common.model.lifecycle import State
from acked_common.model.options import OPTION_NAMES, JobOptions
from acked_common.model.payload_schemas import PayloadSchema, digest_of, stored_text
from acked_common.model.principal import Permission, Principal
from acked_common.runtime.clock import SharedClock
from acked_common.store.errors import StoreUnavailable
from acked_common.store.mongo.documents import job_document
from acked_common.store.records import IdempotencyKey, Insertion, Job, KeyHolder, NewJob
from acked_intake.accept.acceptance import Acceptance
from acked_intake.accept.group_commit import GroupCommit
from acked_intake.accept.idempotency import fingerprint
from acked_intake.accept.keyed_commit import KeyedCommit
from acked_intake.accept.quota_counter import QuotaCounter
from acked_intake.accept.submission import Submission
from acked_intake.settings import CommitLimits, Quotas
from support.callback_endpoints import endpoint
from support.factories import kind_record
from support.fields import fields_of, filled
from support.memory_broker import MemoryBroker
from support.parts import BOUND_S, ShakyStore, admission, common_settings, settle


def asking(what: str) -> Submission:
    return Submission("demo", json.dumps(what).encode())


class Bench:
    """The accept path over parts in memory."""

    def __init__(self, limits: CommitLimits | None = None, quotas: Quotas | None = None) -> None:
        self.clock = SharedClock()
        self.store = ShakyStore(self.clock)
        self.broker = MemoryBroker()
        self.kinds = KindCache(self.store)
        self.monitor = StoreMonitor(self.store, self.clock)
        self.bundle_publisher = BundlePublisher(self.broker, self.kinds)
        self.commit = GroupCommit(JobWriter(self.store, self.bundle_publisher.offer), limits or CommitLimits())
        self.keyed_commit = KeyedCommit(self.commit, self.store, answer_within_s=1.8)
        self.admission = admission(self.store, self.kinds, QuotaCounter(self.store, quotas or Quotas(0, 0)))
        self.acceptance = Acceptance(
            self.commit,
            self.keyed_commit,
            self.store,
            self.kinds,
            self.monitor,
            self.clock,
            common_settings().times,
            self.admission,
        )

    async def start(self) -> None:
        await self.store.ensure_schema()
        await self.store.register_kinds([kind_record("demo", "demo"), kind_record("noop", "noop")])
        await self.monitor.look()
        await self.kinds.refresh()

    async def accept(self, **fields: object) -> NewJob:
        asked = {name: fields.pop(name) for name in OPTION_NAMES if name in fields}
        options = JobOptions(**asked)  # type: ignore[arg-type]
        found = await self.acceptance.accept(
            Submission(**{"kind": "demo", "options": options, **fields})  # type: ignore[arg-type]
        )
        assert isinstance(found, NewJob)
        return found

    async def refusal(self, **fields: object) -> Problem:
        with pytest.raises(ProblemError) as caught:
            await self.accept(**fields)
        return caught.value.problem

    async def accept_keyed(self, key_text: str, asked: str = "a", tenant: str = "default") -> NewJob | KeyHolder:
        client = Principal(tenant, "c", frozenset({Permission.SUBMIT}))
        return await self.acceptance.accept(asking(asked), client=client, key_text=key_text)

    async def kept(self, job: NewJob) -> Job:
        found = await self.store.get(job.id)
        assert found is not None
        return found


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    await made.start()
    yield made
    await made.bundle_publisher.stop()


async def test_a_submission_becomes_a_job_that_is_kept_and_published(bench: Bench) -> None:
    job = await bench.accept(payload=b'{"a":1}', batch="b", tags=("x",), max_attempts=3, timeout_s=7.0)
    kept = await bench.kept(job)
    assert (kept.state, kept.payload, kept.attempt, kept.rev) == (State.QUEUED, b'{"a":1}', 0, 1)
    assert kept.options == JobOptions("b", ("x",), max_attempts=3, timeout_s=7.0)
    await settle()
    bundle = bench.broker.take("demo")
    assert bundle is not None
    assert (bundle.ids, bundle.queued_at) == ((job.id,), kept.queued_at)


async def test_a_delayed_job_is_scheduled_and_not_published(bench: Bench) -> None:
    kept = await bench.kept(await bench.accept(delay_s=60.0))
    assert kept.state is State.SCHEDULED
    assert kept.due_at == kept.accepted_at + timedelta(seconds=60)
    await settle()
    assert bench.broker.take("demo") is None


async def test_the_job_s_own_expiry_wins_over_the_default(bench: Bench) -> None:
    own, default = await bench.accept(expires_in_s=5.0), await bench.accept()
    assert (await bench.kept(own)).expires_at == own.accepted_at + timedelta(seconds=5)
    assert (await bench.kept(default)).expires_at == default.accepted_at + timedelta(days=30)


async def test_a_job_has_the_endpoints_of_its_tenant_and_kind(bench: Bench) -> None:
    for name, kind in (("demos", "demo"), ("noops", "noop")):
        await bench.store.callback_endpoints().add(endpoint(name, tenant="default", kinds=(kind,)))
    await bench.store.callback_endpoints().add(endpoint("theirs"))
    kept = await bench.kept(await bench.accept())
    assert (kept.callback_endpoints, kept.callback_open, kept.callback) == (("demos",), True, None)


async def test_a_job_without_an_endpoint_has_no_field_more(bench: Bench) -> None:
    await bench.store.callback_endpoints().add(endpoint(tenant="default", kinds=("noop",)))
    job = await bench.accept()
    assert (await bench.kept(job)).callback_open is False
    assert not [name for name in job_document(job) if name.startswith("callback")]


async def test_unknown_endpoints_refuse_a_job(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away() -> None:
        raise StoreUnavailable("no server responds")

    monkeypatch.setattr(bench.store.callback_endpoints(), "matches", away)
    assert (await bench.refusal()).name == "not-accepted"


async def test_a_broker_that_is_away_refuses_nobody(bench: Bench) -> None:
    bench.broker.is_away = True
    job = await bench.accept()
    assert (await bench.kept(job)).state is State.QUEUED


async def test_a_new_kind_is_found_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acked_common.background.kind_cache._SECOND_LOOK_EVERY_S", 0.0)
    await bench.store.register_kinds([kind_record("new", "new")])
    assert (await bench.accept(kind="new")).kind == "new"


WIDE = kind_record("wide", "wide", timeout_s=5.0, max_attempts=2, timeout_limit_s=60.0, max_attempts_limit=9)


@pytest.mark.parametrize(("kind", "attempts", "timeout_s"), [("demo", 5, 900.0), ("wide", 9, 60.0)])
async def test_limits_of_a_kind_are_accepted_and_no_more(
    bench: Bench, kind: str, attempts: int, timeout_s: float
) -> None:
    await bench.store.register_kinds([WIDE])
    await bench.kinds.refresh()
    kept = await bench.kept(await bench.accept(kind=kind, max_attempts=attempts, timeout_s=timeout_s))
    assert (kept.options.max_attempts, kept.options.timeout_s) == (attempts, timeout_s)
    found = await bench.refusal(kind=kind, max_attempts=attempts + 1, timeout_s=timeout_s + 0.5)
    assert (found.name, found.status) == ("invalid-field", 422)
    assert [
        (error["pointer"], f"allows {limit:g} at most" in error["detail"])
        for error, limit in zip(found.errors, (attempts, timeout_s), strict=True)
    ] == [("/max_attempts", True), ("/timeout_s", True)]
    assert repr(kind) in found.detail


async def test_limits_that_a_handler_has_just_raised_hold(bench: Bench) -> None:
    bench.kinds._read_at = -1e9
    await bench.store.register_kinds([kind_record("demo", "demo", max_attempts_limit=50)])
    assert (await bench.accept(max_attempts=50)).options.max_attempts == 50


async def test_limits_do_not_refuse_what_a_key_holds_already(bench: Bench) -> None:
    await bench.store.register_kinds([WIDE])
    await bench.kinds.refresh()
    asked = Submission("wide", options=JobOptions(max_attempts=9))
    first = await bench.acceptance.accept(asked, key_text="k")
    await bench.store.register_kinds([kind_record("wide", "wide", max_attempts=2)])
    await bench.kinds.refresh()
    again = await bench.acceptance.accept(asked, key_text="k")
    assert isinstance(again, KeyHolder)
    assert again.id == first.id
    with pytest.raises(ProblemError):
        await bench.acceptance.accept(asked, key_text="another")


async def test_unknown_kind_lists_kinds_to_readers_alone(bench: Bench) -> None:
    submitter = Principal("acme", "c", frozenset({Permission.SUBMIT}))
    with pytest.raises(ProblemError) as caught:
        await bench.acceptance.accept(Submission("nope"), client=submitter)
    found = caught.value.problem
    assert (found.name, "known_kinds" in found.extra) == ("unknown-kind", False)
    assert "demo" not in found.detail


async def test_an_unknown_kind_is_refused_with_the_known_ones(bench: Bench) -> None:
    found = await bench.refusal(kind="nope")
    assert (found.name, found.status) == ("unknown-kind", 422)
    assert found.extra["known_kinds"] == ["demo", "noop"]
    assert "demo, noop" in found.detail
    assert "insert" not in bench.store.calls


async def test_a_store_that_is_known_to_be_away_is_not_asked(bench: Bench) -> None:
    bench.store.is_away = True
    await bench.monitor.look()
    bench.store.calls.clear()
    found = await bench.refusal()
    assert (found.name, found.status) == ("not-accepted", 503)
    assert bench.store.calls == []


async def test_a_schema_that_does_not_fit_accepts_nothing() -> None:
    bench = Bench()
    await bench.monitor.look()
    assert (await bench.refusal()).name == "not-accepted"


async def test_a_kind_that_can_not_be_looked_up_is_not_accepted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acked_common.background.kind_cache._SECOND_LOOK_EVERY_S", 0.0)
    bench.store.failures["kinds"] = [StoreUnavailable("no server")]
    assert (await bench.refusal(kind="new")).name == "not-accepted"


@pytest.mark.parametrize(
    ("outcome", "name"), [(Insertion.NOT_STORED, "not-accepted"), (Insertion.UNKNOWN, "outcome-unknown")]
)
async def test_a_refusal_tells_whether_the_work_may_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, outcome: Insertion, name: str
) -> None:
    async def keep(_: NewJob) -> Insertion:
        return outcome

    monkeypatch.setattr(bench.commit, "keep", keep)
    found = await bench.refusal()
    assert (found.name, found.status, found.headers["Retry-After"]) == (name, 503, "1")
    assert ("may be stored" in found.detail) == (outcome is Insertion.UNKNOWN)
    assert ("may run the work twice" in found.detail) == (outcome is Insertion.UNKNOWN)


async def test_a_key_is_kept_with_its_tenant(bench: Bench) -> None:
    job = await bench.accept_keyed("k", "a", "ours")
    assert isinstance(job, NewJob)
    assert (job.tenant, job.key) == ("ours", IdempotencyKey("k", fingerprint(asking("a"))))
    holder = await bench.store.key_holder("ours", "k")
    assert holder is not None
    assert (holder.id, holder.fingerprint) == (job.id, fingerprint(asking("a")))
    assert isinstance(await bench.accept_keyed("k", "b", "theirs"), NewJob)


async def test_the_same_request_gets_the_job_of_the_first(bench: Bench) -> None:
    job = await bench.accept_keyed("k", "a")
    assert isinstance(job, NewJob)
    again = await bench.accept_keyed("k", "a")
    assert again == KeyHolder(job.id, "demo", State.QUEUED, job.accepted_at, fingerprint(asking("a")))
    await settle()
    bundle = bench.broker.take("demo")
    assert bundle is not None and bundle.ids == (job.id,)
    assert bench.broker.take("demo") is None


async def test_another_request_with_the_key_is_refused_and_told_the_job(bench: Bench) -> None:
    job = await bench.accept_keyed("k", "a")
    with pytest.raises(ProblemError) as caught:
        await bench.accept_keyed("k", "b")
    found = caught.value.problem
    assert (found.name, found.status, found.extra) == ("idempotency-key-reused", 422, {"id": str(job.id)})


async def test_quota_reached_replays_the_job_of_a_key_and_takes_no_new_one() -> None:
    bench = Bench(quotas=Quotas(1, 0))
    await bench.start()
    job = await bench.accept_keyed("k", "a")
    assert (await bench.refusal()).name == "quota-exceeded"
    found = await bench.accept_keyed("k", "a")
    assert found == KeyHolder(job.id, "demo", State.QUEUED, job.accepted_at, fingerprint(asking("a")))
    for asked, key_text, tenant, name in (
        ("a", "another", "default", "quota-exceeded"),
        ("a", "k", "theirs", "quota-exceeded"),
        ("b", "k", "default", "idempotency-key-reused"),
    ):
        with pytest.raises(ProblemError, match=name):
            await bench.accept_keyed(key_text, asked, tenant)
    bench.store.is_away = True
    with pytest.raises(ProblemError, match="not-accepted"):
        await bench.accept_keyed("k", "a")
    await bench.bundle_publisher.stop()


async def _typed(bench: Bench, of: str) -> None:
    """Register a kind whose payload is a text, or whatever `of` is, without a worker that serves it."""
    schema = {"type": of}
    text = stored_text(schema)
    assert text is not None
    stored = PayloadSchema(digest_of(text), "1", text)
    await bench.store.register_kinds([kind_record("demo", "demo", payload_schema=schema, schemas=(stored,))])


async def test_a_payload_of_another_type_is_refused_or_replayed(bench: Bench) -> None:
    job = await bench.accept_keyed("k", "a")
    await _typed(bench, "integer")
    await bench.kinds.refresh()
    await bench.admission.payloads._schemas.refresh()
    stored = len(bench.store._jobs)

    refused = await bench.refusal()
    assert (refused.name, refused.errors[0]["pointer"]) == ("invalid-field", "/payload")
    # A repeated request gets its job, whatever its kind takes by now; a refused one binds no key.
    assert await bench.accept_keyed("k", "a") == KeyHolder(
        job.id, "demo", State.QUEUED, job.accepted_at, fingerprint(asking("a"))
    )
    with pytest.raises(ProblemError, match="invalid-field"):
        await bench.accept_keyed("other", "a")
    assert len(bench.store._jobs) == stored

    await _typed(bench, "string")
    # The look again that the refusal makes finds the newer schema.
    bench.admission.payloads._schemas._looked_at = None
    assert isinstance(await bench.accept_keyed("other", "a"), NewJob)


async def test_nothing_is_accepted_while_it_is_unknown_which_schemas_count(bench: Bench) -> None:
    await _typed(bench, "integer")
    await bench.kinds.refresh()
    stored = len(bench.store._jobs)
    bench.store.failures["workers"] = [StoreUnavailable("away")]

    assert (await bench.refusal()).name == "not-accepted"
    assert (await bench.refusal()).name == "invalid-field"
    assert len(bench.store._jobs) == stored


async def test_a_refused_request_binds_no_key(bench: Bench) -> None:
    with pytest.raises(ProblemError, match="unknown-kind"):
        await bench.acceptance.accept(Submission("nope"), key_text="k")
    assert isinstance(await bench.accept_keyed("k", "b"), NewJob)


async def test_who_has_a_key_is_told_that_repeating_is_safe(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def keep(_: NewJob) -> Insertion:
        return Insertion.UNKNOWN

    monkeypatch.setattr(bench.keyed_commit, "keep", keep)
    with pytest.raises(ProblemError) as caught:
        await bench.accept_keyed("k")
    found = caught.value.problem
    assert (found.name, found.status, found.headers["Retry-After"]) == ("outcome-unknown", 503, "1")
    assert "with the same Idempotency-Key is safe" in found.detail
    assert "twice" not in found.detail


async def test_too_many_waiting_requests_are_told_busy() -> None:
    bench = Bench(CommitLimits(waiting_jobs=1))
    await bench.start()
    hold = bench.store.holds["insert"] = asyncio.Event()
    first = asyncio.create_task(bench.accept())
    await bench.store.until_called("insert")
    assert (await bench.refusal()).name == "busy"
    hold.set()
    async with asyncio.timeout(BOUND_S):
        await first
    await bench.bundle_publisher.stop()


async def test_each_field_of_a_submission_is_kept(bench: Bench) -> None:
    asked = filled(Submission, kind="demo", delay_s=60.0)
    job = await bench.accept(**{name: getattr(asked, name) for name in fields_of(Submission)})
    assert set(fields_of(Submission)) - set(fields_of(NewJob)) == {"delay_s"}
    for name in set(fields_of(Submission)) - {"delay_s"}:
        assert getattr(job, name) == getattr(asked, name) == getattr(await bench.kept(job), name), name
