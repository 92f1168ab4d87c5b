"""Insert a delivery for each end of a job with a callback or endpoints. It runs in every intake, one at a time.

An end that needs a delivery is marked in its job (see `acked_common.model.callbacks`). A look finds marked jobs over
partial indexes, inserts their deliveries under ids that are derived from the ends, and then removes the marks by
compare-and-set. An intake that dies in between leaves the marks, and the next look inserts the same ids again, which
stores nothing.

Tenants are in turn, each with a page at a time, and a look is bounded, so that the backlog of one delays no other.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec.structs import replace
from prometheus_client import Counter

from acked_common.background.job_writer import JobWriter
from acked_common.model import callback_endpoints, lifecycle
from acked_common.model.callback_endpoints import Endpoint
from acked_common.model.callbacks import (
    CALLBACK_KIND,
    EVENT_OF,
    EventDelivery,
    JobEnd,
    Source,
    body_of,
    delivery_id,
    is_wanted,
    tag_of,
    webhook_id,
)
from acked_common.model.ids import new_id
from acked_common.model.options import JobOptions
from acked_common.runtime import failpoints
from acked_common.runtime.clock import Clock
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.settings import JobTimes
from acked_common.store.callback_endpoints import EndpointMatches
from acked_common.store.callbacks import CallbackStore, SettledEnds
from acked_common.store.records import Insertion, Job, NewJob

DELIVERING = "callbacks"
EVERY_S = 1.0
PAGE = 100
PAGES = 20
TURN_S = 5.0
STOPS_AFTER_S = 4.0

_inserted = Counter("acked_callbacks_total", "Deliveries of callbacks that intake has inserted.")


class DeliveryInserter:
    """Inserts the deliveries of one process."""

    def __init__(
        self, store: CallbackStore, endpoints: EndpointMatches, writer: JobWriter, clock: Clock, times: JobTimes
    ) -> None:
        self._store = store
        self._endpoints = endpoints
        self._writer = writer
        self._clock = clock
        self._times = times
        self._holder = str(new_id())
        self._after = ""
        """The tenant whose page was last."""

    def start(self, tasks: Tasks) -> None:
        """Start to look."""
        tasks.repeat("callbacks", self.look, every_s=EVERY_S)

    async def look(self) -> None:
        """Insert the deliveries of marked jobs, a bounded number of pages. Raise `StoreError`."""
        until = self._clock.monotonic() + STOPS_AFTER_S
        for _ in range(PAGES):
            tenant = await self._next_tenant()
            if tenant is None or not await self._store.take_turn(DELIVERING, for_s=TURN_S, holder=self._holder):
                return
            self._after = tenant
            await self._deliver(tenant, await self._store.jobs_with_ends(tenant, limit=PAGE))
            if self._clock.monotonic() >= until:
                return

    async def _next_tenant(self) -> str | None:
        tenant = await self._store.next_tenant_with_ends(self._after)
        if tenant is None and self._after:
            tenant = await self._store.next_tenant_with_ends("")
        return tenant

    async def _deliver(self, tenant: str, jobs: Sequence[Job]) -> None:
        found = {job.id: job for job in jobs}.values()
        endpoints: Mapping[str, Endpoint] = {}
        if any(job.callback_endpoints for job in found):
            endpoints = {one.name: one for one in await self._endpoints.list(tenant)}
        made = {job.id: [self._delivery(job, url, end) for url, end in _receivers(job, endpoints)] for job in found}
        new = [delivery for deliveries in made.values() for delivery in deliveries]
        outcome = await self._writer.insert(new) if new else []
        failpoints.reach("intake.delivery-inserted")
        stored = {job.id for job, outcome in zip(new, outcome, strict=True) if outcome is Insertion.STORED}
        _inserted.inc(len(stored))
        missing = {job.id for job in new} - stored
        await self._store.settle_ends(
            [
                SettledEnds(job.id, job.rev, _is_open(job), tuple(end.key for end in job.callback_ends))
                for job in found
                if not any(delivery.id in missing for delivery in made[job.id])
            ]
        )

    def _delivery(self, job: Job, url: str, end: JobEnd) -> NewJob:
        at, times = self._clock.now(), self._times
        source = Source(job.id, job.kind, job.accepted_at, job.options.batch, job.options.tags)
        delivery = EventDelivery(
            tenant=job.tenant,
            job=job.id,
            url=url,
            run=end.run,
            event=end.event,
            ended_at=end.at,
            resend=end.resend,
            webhook_id=webhook_id(job.id, end),
            body=body_of(source, end),
            endpoint=end.endpoint,
        )
        of_endpoint = (callback_endpoints.tag_of(end.endpoint),) if end.endpoint else ()
        return NewJob(
            id=delivery_id(job.id, end),
            kind=CALLBACK_KIND,
            payload=msgspec.json.encode(delivery),
            accepted_at=at,
            lifecycle=lifecycle.accept_fields(
                at=at, delay_s=0.0, grace_s=times.grace_s, expires_in_s=times.expires_in_s
            ),
            options=JobOptions(tags=(tag_of(job.id), *of_endpoint)),
            tenant=job.tenant,
        )


def _receivers(job: Job, endpoints: Mapping[str, Endpoint]) -> Iterator[tuple[str, JobEnd]]:
    """Yield where the events of a job go now. `endpoints` are those of the tenant, by name; one that was deleted or
    disabled gets nothing."""
    for end in _ends_of(job):
        if job.callback is not None and not end.endpoint and (end.resend or is_wanted(job.callback, end)):
            yield job.callback.url, end
        for name in (end.endpoint,) if end.resend else job.callback_endpoints:
            endpoint = endpoints.get(name)
            if endpoint is None or endpoint.stopped is not None:
                continue
            if end.resend or endpoint.wants(job.kind, end.event):
                yield endpoint.order.url, replace(end, endpoint=name)


def _is_open(job: Job) -> bool:
    return job.callback_open and job.state.is_terminal


def _ends_of(job: Job) -> Iterator[JobEnd]:
    if _is_open(job) and job.finished_at is not None:
        yield JobEnd(job.run, EVENT_OF[job.state], job.finished_at, resend=0, endpoint="")
    yield from job.callback_ends
