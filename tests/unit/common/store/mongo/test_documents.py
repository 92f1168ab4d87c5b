"""Jobs, kinds and workers as documents and back."""

from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import pytest
from bson.binary import Binary, UuidRepresentation
from bson.codec_options import CodecOptions
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from acked_common.model import lifecycle
from acked_common.model.attempts import UNGROUPED
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import HistoryEntry, Move, Owner, Reason, Seen, State
from acked_common.model.options import JobOptions
from acked_common.model.principal import DEFAULT_TENANT
from acked_common.store.mongo import schema
from acked_common.store.mongo.documents import (
    history_document,
    is_behind,
    is_recorded,
    job_document,
    job_from,
    kind_document,
    kind_from,
    transition_fields,
    worker_document,
    worker_from,
)
from acked_common.store.mongo.list_filters import filter_fields, index_fields
from acked_common.store.records import JobFilter, KindRecord, RunningJob, WorkerRecord
from support.factories import kind_record, new_job

AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
OPTIONS: CodecOptions[dict[str, object]] = CodecOptions(tz_aware=True, uuid_representation=UuidRepresentation.STANDARD)


def _through_bson(document: dict[str, object]) -> dict[str, object]:
    return bson.decode(bson.encode(document, codec_options=OPTIONS), OPTIONS)


def test_a_new_jobs_document_has_what_the_validator_demands_and_no_more() -> None:
    document = job_document(new_job(at=AT))

    required = set(schema.JOB_VALIDATOR["$jsonSchema"]["required"])
    assert required <= set(document)
    assert set(document) - required == {"queued_at", "expires_at", "wake", "republished"}
    assert document["tenant"] == DEFAULT_TENANT
    assert type(document["state"]) is type(document["first_state"]) is type(document["reason"]) is str


def test_a_delayed_jobs_document() -> None:
    document = job_document(new_job(at=AT, delay_s=5.0))
    assert (document["state"], document["first_state"]) == (State.SCHEDULED, State.SCHEDULED)
    assert document["wake"] == document["due_at"] == AT + timedelta(seconds=5)
    assert "queued_at" not in document


@given(
    payload=st.binary(max_size=200),
    batch=st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    tags=st.lists(st.text(st.characters(codec="utf-8"), max_size=10), max_size=4),
    max_attempts=st.none() | st.integers(1, 1000),
    timeout_s=st.none() | st.floats(0.1, 1e6),
    delay_s=st.sampled_from([0.0, 30.0]),
)
def test_a_job_survives_its_document(
    payload: bytes,
    batch: str | None,
    tags: list[str],
    max_attempts: int | None,
    timeout_s: float | None,
    delay_s: float,
) -> None:
    given_job = new_job(
        payload=payload,
        at=AT,
        delay_s=delay_s,
        batch=batch,
        tags=tuple(tags),
        max_attempts=max_attempts,
        timeout_s=timeout_s,
        expires_in_s=3600.0,
    )

    job = job_from(_through_bson(job_document(given_job)))

    assert (job.id, job.kind, job.payload, job.accepted_at) == (given_job.id, "demo", payload, AT)
    assert job.options == JobOptions(batch, tuple(tags), max_attempts, timeout_s, 3600.0)
    assert job.state is job.first_state is given_job.lifecycle["state"]
    assert job.history == (HistoryEntry(1, job.state, Reason.ACCEPTED, 0, AT),)


def test_a_projected_document_gives_a_job_without_bodies() -> None:
    document = job_document(new_job(payload=b"large", at=AT))
    for name in ("payload", "history"):
        del document[name]

    job = job_from(document)

    assert (job.payload, job.result, len(job.history)) == (b"", None, 1)


def test_a_running_jobs_document() -> None:
    document = job_document(new_job(at=AT)) | {
        "state": State.RUNNING.value,
        "owner": {"worker": "w", "boot": "b", "nonce": "n"},
        "cancel_requested_at": AT,
        "progress": b"0.5",
        "crashes": 2,
        "suspect": True,
    }

    job = job_from(_through_bson(document))

    assert job.owner == Owner("w", "b", "n")
    assert job.cancel_requested
    assert (job.progress, job.crashes, job.suspect) == (b"0.5", 2, True)
    assert job.seen == Seen(job.id, State.RUNNING, 1, 0, "n", at=AT)
    assert job.seen_with_lease == replace(job.seen, next_check_at=document["wake"])


def test_a_transitions_fields_are_plain_text_and_opaque_bytes() -> None:
    fields = transition_fields(lifecycle.succeed(at=AT, result=b'{"$set":1}', retention_s=60.0))

    assert fields == {
        "state": State.SUCCEEDED.value,
        "reason": Reason.COMPLETED.value,
        "result": Binary(b'{"$set":1}'),
        "finished_at": AT,
        "expire_at": AT + timedelta(seconds=60),
    }
    assert type(fields["state"]) is type(fields["reason"]) is str


def test_a_move_is_recorded_by_its_very_entry_only() -> None:
    seen = Seen(new_id(), State.RUNNING, 2, 1, "n")
    move = Move(seen, lifecycle.succeed(at=AT, result=b"1", retention_s=60.0))
    entry = history_document(move.history_entry)
    later = {**entry, "rev": 4}

    assert entry == {"rev": 3, "state": State.SUCCEEDED, "reason": Reason.COMPLETED, "attempt": 1, "at": AT}
    assert is_recorded(move, {"history": [entry]})
    assert is_recorded(move, {"history": [{**entry, "rev": 2}, entry, later]})
    assert is_recorded(move, _through_bson({"history": [entry]}))
    for name, value in [("rev", 4), ("state", "x"), ("reason", "x"), ("attempt", 2), ("at", AT + timedelta(seconds=1))]:
        assert not is_recorded(move, {"history": [{**entry, name: value}]})
    assert not is_recorded(move, {"history": []})
    assert not is_recorded(move, {})


def test_a_read_is_behind_where_it_shows_all_that_a_move_requires() -> None:
    seen = Seen(new_id(), State.RUNNING, 2, 1, "n")
    document = {"state": "running", "rev": 2, "attempt": 1, "owner": {"nonce": "n"}}
    transition = lifecycle.succeed(at=AT, result=b"1", retention_s=60.0)
    assert is_behind(Move(seen, transition), document)
    others: list[dict[str, Any]] = [{"rev": 3}, {"state": "queued"}, {"attempt": 2}, {"owner": {"nonce": "o"}}]
    for other in others:
        assert not is_behind(Move(seen, transition), {**document, **other})
    assert not is_behind(Move(seen, transition), {})
    # What these require besides may be what was not met.
    assert not is_behind(Move(seen, transition, until_at=AT), document)
    for more in ({"next_check_at": AT}, {"signals": 1}):
        assert not is_behind(Move(replace(seen, **more), transition), document)


@pytest.mark.parametrize(
    ("wanted", "fields", "indexed"),
    [
        (JobFilter(tenant="acme"), {"tenant": "acme"}, ()),
        (JobFilter(kind="k"), {"kind": "k"}, ("kind",)),
        (JobFilter(tag="t"), {"tags": "t"}, ("tags",)),
        (JobFilter(batch="b"), {"batch": "b"}, ("batch",)),
        (JobFilter(state=State.FAILED), {"state": State.FAILED}, ("state",)),
        (JobFilter(state=State.QUEUED), {"state": State.QUEUED}, ()),
        (
            JobFilter(error_group="1a", kind="k"),
            {"state": State.FAILED, "error.group": "1a", "kind": "k"},
            ("state", "error.group"),
        ),
        (
            JobFilter(error_group=UNGROUPED),
            {
                "state": State.FAILED,
                "error.group": None,
                "reason": {"$nin": (Reason.RESOLVED, Reason.EDITED, Reason.ERASED)},
            },
            ("state", "error.group"),
        ),
        (
            JobFilter(worker="w", kind="k"),
            {"state": State.RUNNING, "owner.worker": "w", "kind": "k"},
            ("kind", "state", "owner.worker"),
        ),
        (JobFilter(state=State.FAILED, kind="k"), {"state": State.FAILED, "kind": "k"}, ("kind",)),
        (
            JobFilter(State.QUEUED, "k", "b", "t"),
            {"state": State.QUEUED, "kind": "k", "batch": "b", "tags": "t"},
            ("batch", "state"),
        ),
    ],
)
def test_a_filter_names_its_fields_and_the_index_that_serves_it(
    wanted: JobFilter, fields: dict[str, object], indexed: tuple[str, ...]
) -> None:
    assert filter_fields(wanted) == {"tenant": "default", **fields}
    assert index_fields(wanted) == ("tenant", *indexed)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.none() | st.dictionaries(st.sampled_from(["$ref", "$id", "$defs", "a.b", "type"]), json_values))
def test_a_kind_survives_its_document(payload_schema: dict[str, object] | None) -> None:
    kind = KindRecord("k", "lane", "2", 1.5, 3, 0.5, 9.0, 8, payload_schema, AT, 7, 60.0)

    assert kind_from(_through_bson({"_id": "k", **kind_document(kind)})) == kind


def test_kind_without_limits_of_an_earlier_version_allows_its_own() -> None:
    document = kind_document(kind_record("k", "lane", timeout_s=1.5, max_attempts=3))
    del document["max_attempts_limit"], document["timeout_limit_s"]
    kind = kind_from(_through_bson({"_id": "k", **document}))
    assert (kind.most_attempts, kind.most_timeout_s) == (3, 1.5)


def test_a_worker_survives_its_document() -> None:
    jobs = (RunningJob(new_id(), "a", 2, AT, "acme"),)
    worker = WorkerRecord("boot", "host-1", ("a", "b"), 200, 3, 10, "0.1.0", AT, AT + timedelta(seconds=5), jobs)

    document = {"_id": "boot", **worker_document(worker)}
    assert worker_from(_through_bson(document)) == worker
    # One of a version that does not tell its jobs.
    del document["running_jobs"]
    assert worker_from(_through_bson(document)).running_jobs == ()
