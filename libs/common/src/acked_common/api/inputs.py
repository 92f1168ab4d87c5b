"""Validate query parameters and bodies against the operations of a route, so that a typo is an error.

An unknown parameter would be ignored silently: `?satte=failed` would list all jobs.

`ApiRoute` wraps every endpoint with `Inputs`, and the edge middleware checks each WebSocket handshake, so no route can
omit it. A request without a query, on a route that takes a body, costs one test of an empty string. Endpoints validate
the values, since they know their meaning. Probes ignore their query: a cache-buster must not fail a health check.
"""

import difflib
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from acked_common.http.probes import PROBE_PATHS
from acked_common.http.problems import ErrorAt, ProblemError, problem

if TYPE_CHECKING:
    from acked_common.api.routes import Operation

App = Callable[[Any, Any, Any], Awaitable[None]]

_MAX_ERRORS = 20
_MAX_SHOWN_CHARS = 100
_LENGTH_DIGITS = 2
"""Maximum digits of `Content-Length` for a body that is read to see whether it is empty."""
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class Inputs:
    """Check the query and the presence of a body, then call the route."""

    def __init__(self, app: App, operations: Iterable["Operation"]) -> None:
        self._app = app
        self._taken: dict[str, tuple[tuple[str, ...], bool]] = {}
        for operation in operations:
            names = tuple(parameter.name for parameter in operation.parameters if parameter.place == "query")
            taken = names, operation.body is not None
            self._taken[operation.method] = taken
            if operation.method == "GET":
                self._taken["HEAD"] = taken

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        taken = self._taken.get(scope["method"])
        if taken is None:
            # The route itself responds 405 to other methods.
            return self._app(scope, receive, send)
        names, takes_body = taken
        if scope["query_string"] and scope["path"] not in PROBE_PATHS:
            check_query(scope["query_string"], names)
        if not takes_body:
            for name, value in scope["headers"]:
                if name == b"content-length" and len(value.lstrip(b"0")) > _LENGTH_DIGITS:
                    raise _unexpected_body()
                if name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0")):
                    return self._serve_unless_body(scope, receive, send)
        return self._app(scope, receive, send)

    async def _serve_unless_body(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a request whose body is empty or `{}`: chunks may be empty, and many clients send `{}` by default."""
        body = b""
        while True:
            message = await receive()
            body = (body + message.get("body", b"")).strip()
            if not b"{}".startswith(body):
                raise _unexpected_body()
            if not message.get("more_body", False):
                break
        if body == b"{":
            raise _unexpected_body()
        message = {**message, "body": b""}
        first: list[Any] = [message]

        async def replayed() -> Any:
            return first.pop() if first else await receive()

        await self._app(scope, replayed, send)


def check_query(query: bytes, names: tuple[str, ...]) -> None:
    """Raise `ProblemError` for a parameter that is not in `names`, is repeated, or is not UTF-8."""
    errors: list[ErrorAt] = []
    seen: set[str] = set()
    has_unknown = has_other = False
    for part in query.split(b"&"):
        if not part:
            continue
        raw_name, _, raw_value = part.partition(b"=")
        name, value = _decoded(raw_name), _decoded(raw_value)
        if name is None or name not in names:
            has_unknown = True
            shown = _shown(raw_name) if name is None else name[:_MAX_SHOWN_CHARS]
            errors.append({"pointer": f"?{shown}", "detail": _hint(shown, names)})
        elif name in seen:
            has_other = True
            errors.append({"pointer": f"?{name}", "detail": "appears more than once; send it once"})
        elif value is None:
            has_other = True
            detail = f"is not percent-encoded UTF-8: {_shown(raw_value)!r}"
            errors.append({"pointer": f"?{name}", "detail": detail})
        if name is not None:
            seen.add(name)
    if not errors:
        return
    detail = f"{errors[0]['pointer'][1:] or 'a parameter without a name'} {errors[0]['detail']}"
    if len(errors) > 1:
        detail = f"{len(errors):,} parameters are invalid; the first: {detail}"
    extra: Mapping[str, Any] | None = {"known_fields": names} if has_unknown else None
    # As in a body: a wrong value takes precedence over an unknown name.
    found = "invalid-field" if has_other else "unknown-field"
    raise ProblemError(problem(found, detail, errors=errors[:_MAX_ERRORS], extra=extra))


def _hint(name: str, names: tuple[str, ...]) -> str:
    if not names:
        return "is not a known parameter: this path has none"
    close = difflib.get_close_matches(name.lower(), names, n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return f"is not a known parameter; {meant}Known: {', '.join(names)}"


def _decoded(raw: bytes) -> str | None:
    """Decode a percent-encoded text; None if it is malformed. A plus is a space, as in forms."""
    if _BROKEN_ESCAPE.search(raw):
        return None
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        return None


def _shown(raw: bytes) -> str:
    return raw[:_MAX_SHOWN_CHARS].decode("ascii", "backslashreplace")


def _unexpected_body() -> ProblemError:
    detail = "this request takes no body, but it has one; nothing was changed. Send it without a body"
    return ProblemError(problem("unexpected-body", detail))
