"""New jobs as bytes: the same documents that the driver would make, and none that no server keeps."""

from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import pytest
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from acked_common.model import lifecycle
from acked_common.model.options import JobOptions
from acked_common.store.mongo.documents import job_document
from acked_common.store.mongo.new_job_bytes import MAX_DOCUMENT_BYTES, encode_new_jobs
from acked_common.store.records import IdempotencyKey, NewJob
from support.factories import new_job
from support.fields import filled, records, variants, walked

AT = datetime(2026, 3, 29, 12, 30, tzinfo=UTC)
_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(uuid_representation=UuidRepresentation.STANDARD, tz_aware=True)


def read(document: Any) -> dict[str, Any]:
    assert document is not None
    return bson.decode(document.raw, codec_options=_OPTIONS)


def through_bson(job: NewJob) -> dict[str, Any]:
    return bson.decode(bson.encode(job_document(job), codec_options=_OPTIONS), codec_options=_OPTIONS)


SHARED = [lifecycle.accept_fields(at=AT, delay_s=delay_s, grace_s=1.0, expires_in_s=9.0) for delay_s in (0.0, 5.0)]
"""As intake shares them: jobs of one group have the very same mapping."""
ALIKE = records(
    NewJob,
    id=st.uuids(),
    payload=st.binary(max_size=300),
    accepted_at=st.sampled_from([AT, AT + timedelta(milliseconds=1)]),
    lifecycle=st.sampled_from(SHARED),
    options=records(JobOptions, max_attempts=st.none() | st.integers(1, 1000)),
)


@given(st.lists(ALIKE, min_size=1, max_size=8))
def test_the_bytes_are_those_of_the_documents(jobs: list[NewJob]) -> None:
    assert [read(document) for document in encode_new_jobs(jobs)] == [through_bson(job) for job in jobs]


@pytest.mark.parametrize("name", walked(NewJob))
def test_jobs_that_differ_in_one_field_share_none_of_it(name: str) -> None:
    job = filled(NewJob, lifecycle=SHARED[0])
    other = replace(job, lifecycle=SHARED[1]) if name == "lifecycle" else dict(variants(job, but={"lifecycle"}))[name]
    group = [job, other, job]
    assert [read(document) for document in encode_new_jobs(group)] == [through_bson(each) for each in group]


def test_a_job_whose_field_can_not_be_hashed_shares_nothing() -> None:
    one, other = (replace(new_job(at=AT), options=JobOptions(tags=tags)) for tags in (["a"], ["b"]))  # type: ignore[arg-type]
    assert [read(document) for document in encode_new_jobs([one, other])] == [through_bson(one), through_bson(other)]


def test_jobs_that_share_their_fields_keep_what_is_their_own() -> None:
    first = new_job(at=AT, payload=b"1")
    jobs = [
        NewJob(
            new_job().id,
            first.kind,
            payload,
            AT,
            first.lifecycle,
            key=None if key is None else IdempotencyKey(key, b"f" * 32),
        )
        for payload, key in ((b"1", None), (b"", "k"), (b"333", None), (b"4", "another"))
    ]
    assert [read(document) for document in encode_new_jobs(jobs)] == [through_bson(job) for job in jobs]


@pytest.mark.parametrize(
    "job",
    [
        new_job(batch="\ud800"),
        new_job(max_attempts=2**70),
        new_job(payload=b"x" * MAX_DOCUMENT_BYTES),
    ],
    ids=["no text", "too large a number", "too large"],
)
def test_what_no_server_keeps_has_no_bytes(job: NewJob) -> None:
    good = new_job()
    assert [document is None for document in encode_new_jobs([good, job, good])] == [False, True, False]


def test_the_largest_document_has_just_so_many_bytes() -> None:
    (empty,) = encode_new_jobs([new_job(payload=b"")])
    assert empty is not None
    room = MAX_DOCUMENT_BYTES - len(empty.raw)
    fits, exceeds = encode_new_jobs([new_job(payload=b"x" * room), new_job(payload=b"x" * (room + 1))])
    assert fits is not None and len(fits.raw) == MAX_DOCUMENT_BYTES and exceeds is None
