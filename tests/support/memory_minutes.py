"""Minute buckets and looks in memory, with the semantics of the MongoDB store."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from acked_common.model.lifecycle import State
from acked_common.model.minute_buckets import COUNTED, MOST_READ, Bucket
from acked_common.model.queue_place import SPAN_S, QueuedShare
from acked_common.store.mongo.documents import Document
from acked_common.store.mongo.field_names import NEXT_CHECK_AT

Series = tuple[str | None, str | None, int, datetime]
_SPAN_MS = int(SPAN_S * 1000)


class MemoryMinutes:
    """`MinuteStore` and `QueueStore` of a store that keeps its jobs in `_jobs`."""

    _jobs: dict[UUID, Document]

    def __init__(self) -> None:
        self._buckets: dict[tuple[Series, str], Counter[str]] = {}
        self._writes: dict[tuple[Series, str], int] = {}

    async def add_minutes(self, boot: str, number: int, buckets: Sequence[Bucket]) -> None:
        for bucket in buckets:
            key = (bucket.tenant, bucket.kind, bucket.step_s, bucket.at), boot
            if self._writes.get(key, 0) < number:
                self._writes[key] = number
                self._buckets.setdefault(key, Counter()).update(bucket.counts)

    async def minutes(self, tenant: str | None, kind: str | None, *, step_s: int, since_at: datetime) -> list[Bucket]:
        found = [
            Bucket(*series, dict(counts))
            for (series, _), counts in self._buckets.items()
            if series[:3] == (tenant, kind, step_s) and series[3] >= since_at
        ]
        return sorted(found, key=lambda bucket: bucket.at, reverse=True)[:MOST_READ]

    async def kind_totals(
        self, tenant: str, kinds: Sequence[str], *, step_s: int, since_at: datetime
    ) -> dict[str, dict[str, int]]:
        found: dict[str, Counter[str]] = {}
        for ((of, kind, step, at), _), counts in self._buckets.items():
            if of == tenant and kind in kinds and step == step_s and at >= since_at:
                own = Counter({name: counts[name] for name in COUNTED if counts[name]})
                found.setdefault(str(kind), Counter()).update(own)
        return {kind: dict(counts) for kind, counts in found.items()}

    async def queued_by_kind(self, *, at_most: int) -> list[QueuedShare]:
        queued = [document for document in self._jobs.values() if document["state"] == State.QUEUED.value]
        queued.sort(key=lambda document: (document[NEXT_CHECK_AT], document["_id"]))
        spans = Counter((document["kind"], _span(document)) for document in queued[:at_most])
        return [
            QueuedShare(kind, datetime.fromtimestamp(span * _SPAN_MS / 1000, UTC), count)
            for (kind, span), count in spans.items()
        ]


def _span(document: dict[str, Any]) -> int:
    return round(document["queued_at"].timestamp() * 1000) // _SPAN_MS
