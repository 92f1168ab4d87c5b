"""OWNER of topics: which jobs a client of the feed can follow, and the topics that a job belongs to. Pure.

A new topic is a property of `Origin`, its name in `NAMED`, and a line in `topics_of`; the store maps the property and
the topic to stored fields in `change_events.py`. Frames, routing, snapshots and counts derive from these.
"""

from uuid import UUID

from msgspec import Struct

ALL, IDS, BATCH, KIND = "all", "ids", "batch", "kind"
NAMED = (BATCH, KIND)
"""Topics whose value is a name that the client sends."""
COUNTED_WHOLE = frozenset({IDS, BATCH})
"""Topics that one index counts, in all states. Counts of any other topic cover live and failed jobs only."""


class Origin(Struct, frozen=True):
    """The properties of a job that never change and by which clients follow it."""

    tenant: str | None
    kind: str | None
    batch: str | None


GONE = Origin(None, None, None)
"""The origin of a job that no longer exists: it belongs to no topic."""


class Topic(Struct, frozen=True):
    """Jobs of one tenant that share a property: `value` is the ids of `IDS`, the name of a `NAMED` topic, else None."""

    tenant: str
    name: str
    value: str | frozenset[UUID] | None = None

    @property
    def ids(self) -> frozenset[UUID]:
        """The ids of an `IDS` topic; empty for any other."""
        return self.value if isinstance(self.value, frozenset) else frozenset()


def topics_of(origin: Origin) -> list[Topic]:
    """List the topics that a job belongs to, except `IDS` topics: the hub finds these by the id of the job."""
    tenant = origin.tenant
    if tenant is None:
        return []
    topics = [Topic(tenant, ALL)]
    if origin.kind is not None:
        topics.append(Topic(tenant, KIND, origin.kind))
    if origin.batch is not None:
        topics.append(Topic(tenant, BATCH, origin.batch))
    return topics
