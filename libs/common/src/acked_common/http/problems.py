"""Problem documents (RFC 9457), and the page `/problems/<name>`. Pure."""

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypedDict

import msgspec

from acked_common.http.problem_catalogue import CATALOGUE
from acked_common.model.strict_json import StrictJsonError

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "/problems/"

_encoder = msgspec.json.Encoder()
_STANDARD = ("type", "title", "status", "detail", "errors")


class ErrorAt(TypedDict):
    """One fault of a body; `pointer` is a JSON Pointer (RFC 6901)."""

    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document for a client. `extra` has further members, `headers` those of the response."""

    name: str
    status: int
    title: str
    detail: str
    errors: Sequence[ErrorAt] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def members(self) -> dict[str, Any]:
        """Return the members of the document."""
        document: dict[str, Any] = {
            "type": TYPE_PREFIX + self.name,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = list(self.errors)
        document.update(self.extra)
        return document

    def to_bytes(self) -> bytes:
        """Encode the document; its media type is `MEDIA_TYPE`."""
        return _encoder.encode(self.members())

    def raw_headers(self, body: bytes) -> list[tuple[bytes, bytes]]:
        """Return the headers of the response in the form of ASGI; `body` is the encoded document."""
        return [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            *((name.lower().encode(), value.encode()) for name, value in self.headers.items()),
        ]


class ProblemError(Exception):
    """Ends a request with a problem response."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.name}: {problem.detail}")
        self.problem = problem


def problem(
    name: str,
    detail: str,
    *,
    errors: Sequence[ErrorAt] = (),
    extra: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Problem:
    """Return a problem of the catalogue; `headers` are added to its own. Raises KeyError for an unknown name."""
    entry = CATALOGUE[name]
    extra = extra or {}
    if taken := extra.keys() & set(_STANDARD):
        raise ValueError(f"these members can't be extra ones: {', '.join(sorted(taken))}")
    return Problem(name, entry.status, entry.title, detail, tuple(errors), extra, {**entry.headers, **(headers or {})})


def json_problem(error: StrictJsonError) -> Problem:
    """Return the problem of a body that strict JSON refuses."""
    at: list[ErrorAt] = [{"pointer": error.pointer, "detail": error.detail}]
    return problem(
        error.name,
        f"the body can't be used: {error.detail} (byte {error.offset})",
        errors=at,
        extra={"offset": error.offset},
    )


_STYLE = (
    ":root{color-scheme:light dark}"
    "body{margin:0;background:Canvas;color:CanvasText;font:.9375rem/1.5 system-ui,sans-serif}"
    "main{max-width:42rem;margin:2.5rem auto;padding:0 1rem;overflow-wrap:anywhere}"
    "h1{font-size:1.375rem;font-weight:650}p{margin:.5rem 0}"
    "h2{font-size:1.125rem;font-weight:600;margin:1.5rem 0 .25rem}"
)
PAGE_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    f"style-src 'sha256-{base64.b64encode(sha256(_STYLE.encode()).digest()).decode()}'"
)
"""The content security policy of `render_catalogue_page`: its own style, and nothing else."""


def render_catalogue_page(name: str) -> str | None:
    """Return the page at a problem's `type`, in HTML without scripts; None for an unknown name.

    Every service serves it, so it carries its style. Send it with `PAGE_POLICY`.
    """
    entry = CATALOGUE.get(name)
    if entry is None:
        return None
    title, text, advice = html.escape(entry.title), html.escape(entry.text), html.escape(entry.advice)
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{title}</title><style>{_STYLE}</style></head>\n'
        f"<body>\n<main>\n<h1>{title}</h1>\n"
        f"<p><code>{TYPE_PREFIX}{html.escape(name)}</code>, status {entry.status}</p>\n"
        f"<h2>What happened</h2>\n<p>{text}</p>\n<h2>What to do</h2>\n<p>{advice}</p>\n</main>\n</body>\n</html>\n"
    )
