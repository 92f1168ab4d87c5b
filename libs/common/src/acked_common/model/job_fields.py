"""OWNER of the checks of fields that define jobs: kind, batch and tags, in requests and in schedules. Pure.

Each check takes a parsed JSON value and raises `FieldFault`.
"""

import re
from typing import Any

from acked_common.model.callbacks import CALLBACK_KIND
from acked_common.model.names import KIND_NAME, NEW_BATCH_NAME

MAX_TAGS = 16
MAX_TAG_CHARS = 64
CONTROL_CHARACTERS = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
"""A character class for regular expressions. No tag contains these."""
_CONTROL = re.compile(f"[{CONTROL_CHARACTERS}]")


class FieldFault(Exception):
    """The fault of one field; `pointer` is appended to the field's own."""

    def __init__(self, detail: str, pointer: str = "") -> None:
        self.detail = detail
        self.pointer = pointer


def read_kind(value: Any) -> str:
    """Return the name of a kind."""
    if type(value) is not str:
        raise FieldFault(f"must be a text, not {type_of(value)}")
    if KIND_NAME.fullmatch(value) is None:
        raise FieldFault(
            "must be 1 to 64 of the characters a-z, 0-9, '.', '_' and '-', and start with a letter or digit"
        )
    if value == CALLBACK_KIND:
        raise FieldFault('is the kind of deliveries, which Acked submits itself; add "callback" to a request instead')
    return value


def read_batch(value: Any) -> str:
    """Return the name of a batch for new jobs."""
    if type(value) is not str:
        raise FieldFault(f"must be a text, not {type_of(value)}")
    if NEW_BATCH_NAME.fullmatch(value) is None:
        raise FieldFault("must be 1 to 64 of the characters A-Z, a-z, 0-9, '.', '_' and '-', and neither '.' nor '..'")
    return value


def read_tags(value: Any) -> tuple[str, ...]:
    """Return the tags of a job."""
    if type(value) is not list:
        raise FieldFault(f"must be an array of texts, not {type_of(value)}")
    if len(value) > MAX_TAGS:
        raise FieldFault(f"must hold at most {MAX_TAGS} tags, not {len(value):,}")
    for index, tag in enumerate(value):
        if type(tag) is not str:
            raise FieldFault(f"must be a text, not {type_of(tag)}", f"/{index}")
        if not 1 <= len(tag) <= MAX_TAG_CHARS:
            raise FieldFault(f"must have 1 to {MAX_TAG_CHARS} characters, not {len(tag):,}", f"/{index}")
        if _CONTROL.search(tag):
            raise FieldFault("must not contain control characters or line breaks", f"/{index}")
        if tag in value[:index]:
            raise FieldFault("is already in the list", f"/{index}")
    return tuple(value)


def type_of(value: Any) -> str:
    """Name the JSON type of a value for a message."""
    if value is None:
        return "null"
    names = {bool: "true or false", int: "a whole number", float: "a decimal number", str: "a text", list: "an array"}
    return names.get(type(value), "an object")
