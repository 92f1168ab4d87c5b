"""Deliveries that intake inserts for ends of jobs with callbacks, also when it dies between its writes."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
import pytest

from acked_common.background.job_writer import JobWriter
from acked_common.model.callback_endpoints import Disabled, EndpointOutcomes, disable, written
from acked_common.model.callbacks import CALLBACK_KIND, Callback, EventDelivery, JobEnd, delivery_id
from acked_common.model.interventions import cancel
from acked_common.model.lifecycle import Move, State
from acked_common.model.principal import DEFAULT_TENANT
from acked_common.runtime.settings import JobTimes
from acked_common.store.callbacks import SettledEnds
from acked_common.store.errors import OutcomeUnknown
from acked_common.store.records import Insertion, Job, JobFilter, NewJob
from acked_intake.accept.callback_deliveries import PAGE, DeliveryInserter
from support.callback_endpoints import endpoint
from support.factories import ManualClock, insert, new_job
from support.memory_store import MemoryStore

TIMES = JobTimes(
    lease_s=3.0,
    renewal_s=1.0,
    sweep_tick_s=0.4,
    grace_s=10.0,
    republish_after_s=60.0,
    expires_in_s=3600.0,
    retention_s=86_400.0,
)
CALLBACK = Callback("https://example.com/hook")


class DyingStore(MemoryStore):
    """Fails at a step of intake as often as it is told."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.dies_before_settling = 0
        self.loses_inserts = 0

    async def settle_ends(self, settled: Sequence[SettledEnds]) -> None:
        if self.dies_before_settling:
            self.dies_before_settling -= 1
            raise OutcomeUnknown("the process is gone")
        await super().settle_ends(settled)

    async def insert(self, jobs: Sequence[NewJob]) -> list[Insertion]:
        if self.loses_inserts and any(job.kind == CALLBACK_KIND for job in jobs):
            self.loses_inserts -= 1
            return [Insertion.NOT_STORED] * len(jobs)
        return await super().insert(jobs)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> DyingStore:
    return DyingStore(clock)


def inserter(store: DyingStore, clock: ManualClock) -> DeliveryInserter:
    return DeliveryInserter(store, store.callback_endpoints(), JobWriter(store, lambda _: None), clock, TIMES)


async def cancelled(store: DyingStore, clock: ManualClock, **fields: Any) -> UUID:
    """A job with a callback that ended before it began."""
    job = new_job(at=clock.now(), **{"callback": CALLBACK, **fields})
    await insert(store, job)
    found = await store.get(job.id, tenant=job.tenant)
    assert found is not None
    await store.apply([Move(found.seen, cancel(at=clock.now(), retention_s=3600.0))])
    return job.id


async def deliveries(store: DyingStore, tenant: str = DEFAULT_TENANT) -> list[Job]:
    page = await store.list_jobs(JobFilter(kind=CALLBACK_KIND, tenant=tenant), page_size=1000)
    whole = await store.get_many([job.id for job in page.jobs])
    return list(whole.values())


async def test_end_gets_a_delivery_and_loses_its_mark(store: DyingStore, clock: ManualClock) -> None:
    job_id = await cancelled(store, clock, tenant="acme", tags=("a",), batch="b")
    await inserter(store, clock).look()
    (found,) = await deliveries(store, "acme")
    assert (found.state, found.tenant, found.options.tags) == (State.QUEUED, "acme", (f"callback:{job_id}",))
    sent = msgspec.json.decode(found.payload, type=EventDelivery)
    assert (sent.tenant, sent.job, sent.url, sent.run) == ("acme", job_id, CALLBACK.url, 1)
    assert (sent.event, sent.webhook_id) == ("job.cancelled", f"{job_id}_1_cancelled")
    assert found.id == delivery_id(job_id, JobEnd(1, "job.cancelled", clock.now()))
    assert await store.next_tenant_with_ends("") is None


async def test_intake_dying_between_insert_and_mark_delivers_once(store: DyingStore, clock: ManualClock) -> None:
    await cancelled(store, clock)
    store.dies_before_settling = 2
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            await inserter(store, clock).look()
        # The next one takes the turn when that of the dead one is over.
        clock.advance(60.0)
    await inserter(store, clock).look()
    assert len(await deliveries(store)) == 1
    assert await store.next_tenant_with_ends("") is None


async def test_mark_stays_when_the_insert_is_lost(store: DyingStore, clock: ManualClock) -> None:
    await cancelled(store, clock)
    store.loses_inserts = 1
    one = inserter(store, clock)
    await one.look()
    if not await deliveries(store):
        await one.look()
    assert len(await deliveries(store)) == 1
    assert await store.next_tenant_with_ends("") is None


async def test_event_that_was_not_requested_has_no_delivery(store: DyingStore, clock: ManualClock) -> None:
    await cancelled(store, clock, callback=Callback(CALLBACK.url, ("job.failed",)))
    await inserter(store, clock).look()
    assert await deliveries(store) == []
    assert await store.next_tenant_with_ends("") is None


async def test_event_sent_again_has_another_delivery(store: DyingStore, clock: ManualClock) -> None:
    job_id = await cancelled(store, clock)
    at = clock.now()
    one = inserter(store, clock)
    await one.look()
    clock.advance(5.0)
    assert await store.ask_again(job_id, JobEnd(1, "job.cancelled", at, 1), tenant=DEFAULT_TENANT)
    await one.look()
    first, second = (msgspec.json.decode(job.payload, type=EventDelivery) for job in await deliveries(store))
    assert {first.resend, second.resend} == {0, 1}
    assert (first.webhook_id, first.body) == (second.webhook_id, second.body)


async def test_large_tenant_does_not_delay_another(store: DyingStore, clock: ManualClock) -> None:
    for _ in range(3 * PAGE):
        await cancelled(store, clock, tenant="large")
    await cancelled(store, clock, tenant="small")
    one = inserter(store, clock)
    pages: list[str] = []
    read = store.jobs_with_ends

    async def jobs_with_ends(tenant: str, *, limit: int) -> list[Job]:
        pages.append(tenant)
        return await read(tenant, limit=limit)

    store.jobs_with_ends = jobs_with_ends  # type: ignore[method-assign]
    await one.look()
    assert pages == ["large", "small", "large", "large"]
    assert len(await deliveries(store, "large")) == 3 * PAGE


async def test_second_intake_waits_for_its_turn(store: DyingStore, clock: ManualClock) -> None:
    await cancelled(store, clock)
    first, second = inserter(store, clock), inserter(store, clock)
    await first.look()
    await cancelled(store, clock)
    await second.look()
    assert len(await deliveries(store)) == 1
    await first.look()
    assert len(await deliveries(store)) == 2


async def sent_to(store: DyingStore, tenant: str = "acme") -> list[tuple[str, str]]:
    """The endpoint and the URL of each delivery."""
    sent = [msgspec.json.decode(job.payload, type=EventDelivery) for job in await deliveries(store, tenant)]
    return sorted((one.endpoint, one.url) for one in sent)


async def test_end_goes_to_the_callback_and_each_endpoint(store: DyingStore, clock: ManualClock) -> None:
    for name in ("a", "b", "later"):
        await store.callback_endpoints().add(endpoint(name, url=f"https://example.com/{name}"))
    job_id = await cancelled(store, clock, tenant="acme", callback_endpoints=("a", "b", "deleted"))
    await inserter(store, clock).look()
    assert await sent_to(store) == [
        ("", CALLBACK.url),
        ("a", "https://example.com/a"),
        ("b", "https://example.com/b"),
    ]
    found = {job.id: job for job in await deliveries(store, "acme")}
    end = JobEnd(1, "job.cancelled", clock.now(), endpoint="a")
    assert found[delivery_id(job_id, end)].options.tags == (f"callback:{job_id}", "endpoint:a")
    sent = [msgspec.json.decode(job.payload, type=EventDelivery) for job in found.values()]
    assert {one.webhook_id for one in sent} == {f"{job_id}_1_cancelled"}
    assert len({one.body for one in sent}) == 1
    assert await store.next_tenant_with_ends("") is None


async def test_endpoint_gets_what_it_wants_when_the_job_ends(store: DyingStore, clock: ManualClock) -> None:
    endpoints = store.callback_endpoints()
    off, gone = endpoint("off"), endpoint("gone")
    others = [endpoint("failures", events=("job.failed",)), endpoint("mails", kinds=("mail",)), endpoint("fits")]
    for one in (off, gone, *others):
        await endpoints.add(one)
    await endpoints.replace(written(off, disable(off, Disabled(clock.now(), "ann")), clock.now()), off)
    await endpoints.note([EndpointOutcomes("acme", "gone", 1, failed_at=clock.now(), gone_at=clock.now(), error="no")])
    names = tuple(one.name for one in (off, gone, *others))
    await cancelled(store, clock, tenant="acme", callback=None, callback_endpoints=names)
    await inserter(store, clock).look()
    assert [name for name, _ in await sent_to(store)] == ["fits"]
    assert await store.next_tenant_with_ends("") is None


async def test_endpoints_get_one_delivery_each_however_intake_dies(store: DyingStore, clock: ManualClock) -> None:
    for name in ("a", "b"):
        await store.callback_endpoints().add(endpoint(name))
    await cancelled(store, clock, tenant="acme", callback=None, callback_endpoints=("a", "b"))
    store.dies_before_settling, store.loses_inserts = 3, 1
    for _ in range(3):
        with pytest.raises(OutcomeUnknown):
            await inserter(store, clock).look()
        clock.advance(60.0)
    await inserter(store, clock).look()
    assert [name for name, _ in await sent_to(store)] == ["a", "b"]
    assert await store.next_tenant_with_ends("") is None


async def test_event_is_sent_again_to_its_endpoint_alone(store: DyingStore, clock: ManualClock) -> None:
    await store.callback_endpoints().add(endpoint("a", events=("job.failed",)))
    job_id = await cancelled(store, clock, tenant="acme", callback_endpoints=("a",))
    one = inserter(store, clock)
    await one.look()
    assert [name for name, _ in await sent_to(store)] == [""]
    clock.advance(5.0)
    again = JobEnd(1, "job.cancelled", clock.now(), 1, "a")
    assert await store.ask_again(job_id, again, tenant="acme")
    assert not await store.ask_again(job_id, JobEnd(1, "job.cancelled", clock.now(), 1, "b"), tenant="acme")
    await one.look()
    # The operator asks for this one, whatever the endpoint wants by now.
    assert [name for name, _ in await sent_to(store)] == ["", "a"]
