"""Encode new jobs as BSON. Pure.

Jobs of one group commit share most fields. The shared fields are encoded once, and each document is assembled around
them.
"""

from collections.abc import Sequence
from operator import attrgetter

import bson
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument

from acked_common.store.mongo.bson_layout import enclosed, length, uuid_value
from acked_common.store.mongo.documents import Document, job_document
from acked_common.store.records import NewJob

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
"""No server accepts a larger document."""

_NO_BSON = (BSONError, OverflowError, UnicodeError)
_OPTIONS: CodecOptions[Document] = CodecOptions(uuid_representation=UuidRepresentation.STANDARD)

_OWN = frozenset({"id", "payload", "key"})
"""Fields that are encoded per job; jobs share the encoding of all other fields if they are equal."""
_OWN_IN_DOCUMENT = frozenset({"_id", "payload", "key", "key_fingerprint"})
# The mapping can't be hashed, so compare it by identity; it lives as long as the job.
_shared_of = attrgetter(*(name for name in NewJob.__struct_fields__ if name not in _OWN | {"lifecycle"}))

# Type and name.
_ID, _PAYLOAD, _FINGERPRINT, _KEY = b"\x05_id\0", b"\x05payload\0", b"\x05key_fingerprint\0", b"\x02key\0"


def encode_new_jobs(jobs: Sequence[NewJob]) -> list[RawBSONDocument | None]:
    """Encode the document of each job as `job_document` defines it; None for a job that no server can store."""
    encoded: dict[object, bytes | None] = {}
    documents: list[RawBSONDocument | None] = []
    for job in jobs:
        common = (id(job.lifecycle), _shared_of(job))
        try:
            shared = encoded[common]
        except KeyError:
            shared = encoded[common] = _encode_shared(job)
        except TypeError:
            # A field can't be hashed, so the job shares its encoding with no other.
            shared = _encode_shared(job)
        documents.append(None if shared is None else _put_together(job, shared))
    return documents


def _encode_shared(job: NewJob) -> bytes | None:
    """Return the encoded shared elements, which follow the id."""
    fields = {name: value for name, value in job_document(job).items() if name not in _OWN_IN_DOCUMENT}
    try:
        return bson.encode(fields, codec_options=_OPTIONS)[4:-1]
    except _NO_BSON:
        return None


def _put_together(job: NewJob, shared: bytes) -> RawBSONDocument | None:
    payload = job.payload
    parts = [_ID, uuid_value(job.id), shared, _PAYLOAD, length(len(payload)), b"\0", payload]
    if job.key is not None:
        text, fingerprint = job.key.text.encode(), job.key.fingerprint
        parts += (_KEY, length(len(text) + 1), text, b"\0")
        parts += (_FINGERPRINT, length(len(fingerprint)), b"\0", fingerprint)
    document = enclosed(b"".join(parts))
    return RawBSONDocument(document) if len(document) <= MAX_DOCUMENT_BYTES else None
