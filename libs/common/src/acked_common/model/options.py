"""OWNER of the options that a request may set for its job, in addition to kind, payload and delay. Pure.

One struct travels whole: submission, new job, document, claimed job, assignment, handler context. Fingerprint, stored
fields, shared bytes and the fields that a claim reads derive from it. So a new option needs its line here, its check in
`submission.py` and its description in `operations.py`.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import fields


class JobOptions(Struct, frozen=True):
    """The options of a job. A field at its default was not requested and is not stored. Durations are seconds."""

    batch: str | None = None
    tags: tuple[str, ...] = ()
    max_attempts: int | None = None
    timeout_s: float | None = None
    expires_in_s: float | None = None


OPTION_NAMES = JobOptions.__struct_fields__
DEFAULTS: Mapping[str, Any] = {field.name: field.default for field in fields(JobOptions)}
NO_OPTIONS = JobOptions()
