"""New jobs as the bytes that MongoDB keeps. Pure.

Jobs of one group commit share all but a few fields: what they share is encoded once, and the bytes of each job are put
together around it.
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
"""No server takes a larger one."""

_NO_BSON = (BSONError, OverflowError, UnicodeError)
_OPTIONS: CodecOptions[Document] = CodecOptions(uuid_representation=UuidRepresentation.STANDARD)

_OWN = frozenset({"id", "payload", "key"})
"""Fields of a job that are encoded for it alone; all others are shared by the jobs in which they are equal."""
_OWN_IN_DOCUMENT = frozenset({"_id", "payload", "key", "key_fingerprint"})
# The mapping is compared by its identity: it can't be hashed, and lives as long as the job does.
_shared_of = attrgetter(*(name for name in NewJob.__struct_fields__ if name not in _OWN | {"lifecycle"}))

# Type and name.
_ID, _PAYLOAD, _FINGERPRINT, _KEY = b"\x05_id\0", b"\x05payload\0", b"\x05key_fingerprint\0", b"\x02key\0"


def encode_new_jobs(jobs: Sequence[NewJob]) -> list[RawBSONDocument | None]:
    """The document of each job, as `job_document` has it; None for one that no server can keep."""
    encoded: dict[object, bytes | None] = {}
    documents: list[RawBSONDocument | None] = []
    for job in jobs:
        common = (id(job.lifecycle), _shared_of(job))
        try:
            shared = encoded[common]
        except KeyError:
            shared = encoded[common] = _encode_shared(job)
        except TypeError:
            # A field that can't be hashed: the job shares with no other.
            shared = _encode_shared(job)
        documents.append(None if shared is None else _put_together(job, shared))
    return documents


def _encode_shared(job: NewJob) -> bytes | None:
    """The elements that are not the job's own, behind its id."""
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
