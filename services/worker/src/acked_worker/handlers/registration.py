"""Build the registration of a worker's kinds. Kinds are data, and their registration outlives the worker."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from functools import cache
from importlib.metadata import version

from acked import Kind, KindOptions
from acked_common.model.bundling import bundle_size
from acked_common.model.payload_schemas import PayloadSchema, digest_of, parsed, stored_text
from acked_common.store.records import KindRecord
from acked_worker.settings import Capacity

_OPTIONS = {field.name for field in fields(KindOptions)} & {field.name for field in fields(KindRecord)}
"""The options of a handler that others need to know."""


def kind_record(kind: Kind, *, slots: int, seen_at: datetime) -> KindRecord:
    """Return the record of a kind for the other services."""
    options = kind.options
    own = {name: getattr(options, name) for name in _OPTIONS}
    own["lane"] = options.lane or kind.name
    own["bundle"] = bundle_size(options.bundle, slots=slots, is_async=kind.is_async)
    schema = None if kind.payload is None else kind.payload.schema
    text = stored_text(schema)
    if text is None:
        return KindRecord(name=kind.name, seen_at=seen_at, **own)
    stored = PayloadSchema(digest_of(text), options.version, text)
    return KindRecord(name=kind.name, seen_at=seen_at, payload_schema=parsed(text), schemas=(stored,), **own)


def schema_digests(records: Mapping[str, KindRecord]) -> dict[str, str]:
    """Return the digest of the payload schema of each kind that registers one."""
    return {name: record.schemas[0].digest for name, record in records.items() if record.schemas}


def is_left_to_workers(kind: Kind) -> bool:
    """Return whether the payload of a handler has a type, but no schema that intake could check."""
    return kind.payload is not None and stored_text(kind.payload.schema) is None


def kind_records(kinds: Mapping[str, Kind], capacity: Capacity, *, seen_at: datetime) -> dict[str, KindRecord]:
    """Return what a worker of this capacity registers of its kinds, by name."""
    return {
        name: kind_record(kind, slots=capacity.slots_for(is_async=kind.is_async), seen_at=seen_at)
        for name, kind in kinds.items()
    }


def lanes_of(records: Iterable[KindRecord]) -> Mapping[str, list[str]]:
    """Group the names of kinds by lane."""
    lanes: dict[str, list[str]] = {}
    for record in records:
        lanes.setdefault(record.lane, []).append(record.name)
    return lanes


def unserved(own: Mapping[str, KindRecord], known: Iterable[KindRecord], *, since: datetime) -> Mapping[str, list[str]]:
    """Return the kinds on this worker's lanes that only other workers have registered since then, by lane.

    The worker receives bundles of these kinds and can't run them, so their jobs wait for the sweeper.
    """
    lanes = {record.lane for record in own.values()}
    return lanes_of(
        record
        for record in known
        if record.lane in lanes and record.name not in own and record.seen_at is not None and record.seen_at >= since
    )


@cache
def worker_version() -> str:
    """Return the version of this worker's code."""
    return version("acked-worker")
