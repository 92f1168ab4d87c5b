"""OWNER of the checks of fields that define where events go: URL, events and headers. Pure.

Each check takes a parsed JSON value and raises `FieldFault`.
"""

import re
from typing import Any

from acked_common.model.call_targets import target_of
from acked_common.model.callback_endpoints import MAX_HEADER_NAME, MAX_HEADER_VALUE, MAX_HEADERS, MAX_KINDS
from acked_common.model.callbacks import EVENTS, MAX_URL_CHARS
from acked_common.model.job_fields import FieldFault, read_kind, type_of

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?")
_OURS = frozenset(
    {"accept-encoding", "connection", "content-length", "content-type", "expect", "host", "idempotency-key"}
    | {"keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "user-agent"}
)
"""Headers of the connection and of the message, which Acked sets."""
_OUR_PREFIXES = ("webhook-", "proxy-")


def read_url(value: Any) -> str:
    """Return a URL that events may go to, judged by its text alone."""
    if type(value) is not str:
        raise FieldFault("is missing; name the https URL to call" if value is None else "must be a text")
    if len(value) > MAX_URL_CHARS:
        raise FieldFault(f"must have at most {MAX_URL_CHARS:,} characters, not {len(value):,}")
    try:
        target_of(value)
    except ValueError as error:
        raise FieldFault(str(error)) from None
    return value


def read_events(value: Any) -> tuple[str, ...]:
    """Return events in their order."""
    if type(value) is not list or not value:
        raise FieldFault(f"must be an array of one or more of {', '.join(EVENTS)}")
    for index, event in enumerate(value):
        if event not in EVENTS:
            raise FieldFault(f"must be one of {', '.join(EVENTS)}", f"/{index}")
        if event in value[:index]:
            raise FieldFault("is already in the list", f"/{index}")
    return tuple(event for event in EVENTS if event in value)


def read_kinds(value: Any) -> tuple[str, ...]:
    """Return the names of kinds, sorted. None of them need be registered."""
    if type(value) is not list:
        raise FieldFault(f"must be an array of names of kinds, not {type_of(value)}")
    if len(value) > MAX_KINDS:
        raise FieldFault(f"must hold at most {MAX_KINDS} kinds, not {len(value):,}; leave it out for all kinds")
    for index, kind in enumerate(value):
        try:
            read_kind(kind)
        except FieldFault as fault:
            raise FieldFault(fault.detail, f"/{index}") from None
        if kind in value[:index]:
            raise FieldFault("is already in the list", f"/{index}")
    return tuple(sorted(value))


def read_headers(value: Any) -> tuple[tuple[str, str], ...]:
    """Return names, in lower case, and values of headers, sorted by name."""
    if type(value) is not dict:
        raise FieldFault(f'must be an object such as {{"authorization": "Bearer …"}}, not {type_of(value)}')
    if len(value) > MAX_HEADERS:
        raise FieldFault(f"must hold at most {MAX_HEADERS} headers, not {len(value):,}")
    found: dict[str, str] = {}
    for name, text in value.items():
        pointer = f"/{name[:MAX_HEADER_NAME]}"
        lowered = name.lower()
        if len(name) > MAX_HEADER_NAME or _TOKEN.fullmatch(name) is None:
            raise FieldFault(f"is not a header name of at most {MAX_HEADER_NAME} characters", pointer)
        if lowered in _OURS or lowered.startswith(_OUR_PREFIXES):
            raise FieldFault("is set by Acked", pointer)
        if lowered in found:
            raise FieldFault("is already in the object", pointer)
        if type(text) is not str or len(text) > MAX_HEADER_VALUE or _VALUE.fullmatch(text) is None:
            raise FieldFault(
                f"must be 1 to {MAX_HEADER_VALUE:,} printable characters of ASCII, with no space at either end", pointer
            )
        found[lowered] = text
    return tuple(sorted(found.items()))
