"""New jobs as bytes: the same documents that the driver would make, and none that no server keeps."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import pytest
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions
from hypothesis import given
from hypothesis import strategies as st

from acked_common.store import IdempotencyKey, NewJob
from acked_common.store.documents import job_document
from acked_common.store.new_job_bson import MAX_DOCUMENT_BYTES, encode_new_jobs
from support.factories import new_job

AT = datetime(2026, 3, 29, 12, 30, tzinfo=UTC)
_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(uuid_representation=UuidRepresentation.STANDARD, tz_aware=True)


def read(document: Any) -> dict[str, Any]:
    assert document is not None
    return bson.decode(document.raw, codec_options=_OPTIONS)


def through_bson(job: NewJob) -> dict[str, Any]:
    return bson.decode(bson.encode(job_document(job), codec_options=_OPTIONS), codec_options=_OPTIONS)


@dataclass(frozen=True)
class Asked:
    """What a request may ask for."""

    payload: bytes
    fields: dict[str, Any]


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
asked = st.builds(
    Asked,
    payload=st.binary(max_size=300),
    fields=st.fixed_dictionaries(
        {
            "tenant": texts,
            "kind": texts,
            "delay_s": st.sampled_from([0.0, 5.0]),
            "at": st.sampled_from([AT, AT + timedelta(milliseconds=1)]),
        },
        optional={
            "batch": texts,
            "tags": st.lists(texts, max_size=3, unique=True).map(tuple),
            "max_attempts": st.integers(1, 1000),
            "timeout_s": st.floats(0.1, 1e6),
            "expires_in_s": st.floats(0.1, 1e6),
            "key": st.builds(IdempotencyKey, texts, st.binary(min_size=32, max_size=32)),
        },
    ),
)


@given(st.lists(asked, min_size=1, max_size=8))
def test_the_bytes_are_those_of_the_documents(wanted: list[Asked]) -> None:
    jobs = [new_job(payload=one.payload, **one.fields) for one in wanted]
    assert [read(document) for document in encode_new_jobs(jobs)] == [through_bson(job) for job in jobs]


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
