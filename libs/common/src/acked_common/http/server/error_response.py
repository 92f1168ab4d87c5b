"""A problem as the last response on a connection, in bytes, for errors that no application can report."""

from collections.abc import Iterable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from acked_common.http.problems import Problem
from acked_common.http.request_guards import API_ANSWER


def answer_headers(found: Problem, body: bytes, more: Iterable[tuple[bytes, bytes]] = ()) -> list[tuple[bytes, bytes]]:
    """Return the headers of a response with this problem that ends the connection."""
    return [
        *(header for header in found.raw_headers(body) if header[0] != b"connection"),
        (b"connection", b"close"),
        *API_ANSWER,
        *more,
    ]


def answer_bytes(
    found: Problem, default_headers: list[tuple[bytes, bytes]], more: Iterable[tuple[bytes, bytes]] = ()
) -> bytes:
    """Encode an HTTP response with this problem that ends the connection."""
    body = found.to_bytes()
    lines = [name + b": " + value + b"\r\n" for name, value in [*default_headers, *answer_headers(found, body, more)]]
    return b"".join([STATUS_LINE[found.status], *lines, b"\r\n", body])
