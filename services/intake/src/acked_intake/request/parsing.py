"""Parse what a client submits: small texts on the event loop, others in a thread."""

from typing import Protocol, TypeVar

from acked_common.http import fair_thread
from acked_common.http.fair_thread import ON_LOOP_BYTES
from acked_common.http.limits import Client
from acked_common.model import strict_json
from acked_common.model.strict_json import SCANNED_ON_LOOP_BYTES, NeedsScan

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Parse(Protocol[T_co]):
    """A parser such as `parse_submission`."""

    def __call__(self, text: bytes, /, *, max_bytes: int, may_scan: bool) -> T_co: ...


async def parse_fairly(
    parse: Parse[T], text: bytes, *, max_bytes: int = strict_json.MAX_BYTES, client: Client = None
) -> T:
    """Return what `parse` makes of the text, and raise what it raises. A thread parses large and suspicious texts, so
    that they do not block the loop; clients take turns at it."""
    may_scan = len(text) <= SCANNED_ON_LOOP_BYTES
    try:
        if len(text) <= ON_LOOP_BYTES:
            return parse(text, max_bytes=max_bytes, may_scan=may_scan)
        return await fair_thread.quick.run(client, lambda: parse(text, max_bytes=max_bytes, may_scan=False))
    except NeedsScan:
        return await fair_thread.slow.run(client, lambda: parse(text, max_bytes=max_bytes, may_scan=True))
