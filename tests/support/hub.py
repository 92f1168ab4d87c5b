"""A hub without connections: updates to publish, and clients whose frames a test reads."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from acked_common.model.events import JobEvent, JobUpdate
from acked_common.model.lifecycle import Reason, State
from acked_common.model.principal import DEFAULT_TENANT
from acked_common.model.topics import Topic
from acked_gateway.feed.client import Client
from acked_gateway.feed.hub import Hub
from acked_gateway.feed.subscription import jobs_snapshot
from support.factories import origin

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)

STATES = list(State)


def news(
    job_id: UUID, rev: int, *, batch: str | None = None, progress: bytes | None = None, tenant: str = DEFAULT_TENANT
) -> JobUpdate:
    event = JobEvent(job_id, rev, STATES[rev % len(STATES)], Reason.DUE.value, rev // 2, AT)
    return JobUpdate(job_id, origin(batch=batch, tenant=tenant), event, progress)


def frames(client: Client) -> list[dict[str, Any]]:
    """All that the client can be sent now."""
    found = []
    while (frame := client.next_frame()) is not None:
        found.append(json.loads(frame))
    return found


def revs(found: Iterable[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(event["id"], event["rev"]) for frame in found for event in frame.get("events", ())]


def followed(hub: Hub, scope: Topic, sub: str = "s", jobs: Sequence[JobUpdate] = ()) -> Client:
    """A client with a live subscription."""
    client = Client(lambda: None)
    subscription = hub.subscribe(client, sub, scope)
    client.without_snapshot.clear()
    assert subscription.accept(jobs_snapshot(jobs))
    frames(client)
    return client
