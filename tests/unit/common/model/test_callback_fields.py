"""Where events go: URLs, events, kinds and headers, with the fault of each that can't be used."""

from collections.abc import Callable
from typing import Any

import pytest

from acked_common.model.callback_endpoints import MAX_HEADER_VALUE, MAX_HEADERS, MAX_KINDS
from acked_common.model.callback_fields import read_events, read_headers, read_kinds, read_url
from acked_common.model.callbacks import EVENTS, MAX_URL_CHARS
from acked_common.model.job_fields import FieldFault

URL = "https://example.com/hook"


def test_fields_are_read_in_their_order() -> None:
    assert read_url(URL) == URL
    assert read_events([EVENTS[2], EVENTS[0]]) == (EVENTS[0], EVENTS[2])
    assert read_kinds(["mail", "a.b"]) == ("a.b", "mail")
    assert read_kinds([]) == ()
    assert read_headers({"X-Key": "1", "Authorization": "Bearer a b"}) == (
        ("authorization", "Bearer a b"),
        ("x-key", "1"),
    )


@pytest.mark.parametrize(
    ("read", "value", "pointer", "detail"),
    [
        (read_url, None, "", "is missing"),
        (read_url, 1, "", "must be a text"),
        (read_url, URL + "a" * MAX_URL_CHARS, "", "at most"),
        (read_url, "ftp://example.com", "", "https://"),
        (read_events, [], "", "one or more"),
        (read_events, ["job.ended"], "/0", "one of"),
        (read_events, [EVENTS[0], EVENTS[0]], "/1", "already"),
        (read_kinds, "mail", "", "an array"),
        (read_kinds, ["mail", "acked.callback"], "/1", "kind of deliveries"),
        (read_kinds, ["mail", "mail"], "/1", "already"),
        (read_kinds, ["Mail"], "/0", "characters"),
        (read_kinds, [f"k{n}" for n in range(MAX_KINDS + 1)], "", "at most"),
        (read_headers, [], "", "an object"),
        (read_headers, {f"x-{n}": "1" for n in range(MAX_HEADERS + 1)}, "", "at most"),
        (read_headers, {"a b": "1"}, "/a b", "not a header name"),
        (read_headers, {"x" * 100: "1"}, f"/{'x' * 64}", "not a header name"),
        (read_headers, {"Webhook-Id": "1"}, "/Webhook-Id", "set by Acked"),
        (read_headers, {"Content-Type": "1"}, "/Content-Type", "set by Acked"),
        (read_headers, {"a": "1", "A": "2"}, "/A", "already"),
        (read_headers, {"a": "1\r\nb: 2"}, "/a", "printable"),
        (read_headers, {"a": ""}, "/a", "printable"),
        (read_headers, {"a": "é"}, "/a", "printable"),
        (read_headers, {"a": "x" * (MAX_HEADER_VALUE + 1)}, "/a", "printable"),
        (read_headers, {"a": 1}, "/a", "printable"),
    ],
)
def test_value_that_cannot_be_used_has_its_fault(
    read: Callable[[Any], Any], value: Any, pointer: str, detail: str
) -> None:
    with pytest.raises(FieldFault) as caught:
        read(value)
    assert caught.value.pointer == pointer and detail in caught.value.detail
