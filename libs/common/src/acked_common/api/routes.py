"""The typed route table: the requests and responses of each route. Routing and the OpenAPI document both use it."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from starlette.exceptions import HTTPException
from starlette.routing import Match, Route, WebSocketRoute

from acked_common.api.inputs import Inputs
from acked_common.http.problems import ProblemError, problem
from acked_common.http.request_source import names_media
from acked_common.model.principal import Permission

JSON = "application/json"
HTML = "text/html"
LINES = "application/x-ndjson"
"""Newline-delimited JSON; the schemas of this media type are those of one line."""
EVENTS = "text/event-stream"
"""Server-sent events."""

ALWAYS = (
    *("bad-http", "unsupported-transfer-coding", "slow-head", "slow-body", "headers-too-large"),
    *("bad-host", "host-not-allowed", "method-not-allowed", "unknown-field", "invalid-field", "internal"),
)
"""Problems that every route may return."""
OF_LIMITED = ("rate-limited", "too-many-requests", "busy")
"""Problems of rate-limited routes: too many requests of one client, or of all."""
OF_CHANGES = ("cross-site", "origin-not-allowed")
"""Problems of requests that change state: pages of other sites are rejected."""
OF_TOKENS = ("no-token", "unknown-token", "token-in-url", "missing-permission", "access-unknown")
"""Problems of authenticated routes."""
OF_JSON_BODIES = ("bad-json", "bad-encoding", "bad-number", "bad-text", "duplicate-key", "too-deep", "body-too-large")
"""Problems of strict JSON parsing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter. `type` is any type that msgspec can describe, with limits in `Annotated`."""

    name: str
    place: Literal["path", "query", "header"]
    type: Any
    description: str
    example: str | int | float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A JSON request body."""

    type: Any
    description: str
    required: bool
    examples: Mapping[str, Any] = field(default_factory=dict)
    """Example value by name."""
    line_type: Any = None
    """The type of one line, for a route that takes many requests as newline-delimited JSON too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A response header, sent always or sometimes."""

    type: Any
    description: str
    is_always_there: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link from a response to another operation of the service; its parameters come from the response."""

    operation: str
    parameters: Mapping[str, str]
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiResponse:
    """A successful response of a route. Problems are listed by name in `Operation.problems`."""

    description: str
    media: Mapping[str, Any]
    """Body type by media type; `str` for plain text."""
    status: int = 200
    headers: Mapping[str, Header] = field(default_factory=dict)
    links: Mapping[str, Link] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path. `id` is a name for programs and never changes."""

    id: str
    path: str
    summary: str
    answers: tuple[ApiResponse, ...]
    tag: str
    permission: Permission | None
    """The permission that the token needs; None makes the route public."""
    method: Literal["GET", "POST", "PUT", "DELETE"] = "GET"
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    problems: tuple[str, ...] = ()
    """Names from the catalogue, in addition to those of every route."""
    is_limited: bool = True
    """Whether limits apply; health checks are exempt."""
    is_change: bool = False
    """Marks a GET that changes state; other methods always do."""
    of_all_tenants: bool = False
    """Affects all tenants: only tokens of the operator's tenant are accepted."""
    has_page: bool = False
    """Whether a browser gets an HTML page at this path, without a token: see `with_page`."""

    @property
    def changes(self) -> bool:
        """Whether requests from pages of other sites are rejected."""
        return self.is_change or self.method != "GET"

    @property
    def all_problems(self) -> tuple[str, ...]:
        """Return the names of all problems that the operation may return."""
        has_path_parameter = any(parameter.place == "path" for parameter in self.parameters)
        found = [*self.problems, *(["not-found"] if has_path_parameter else [])]
        found += [] if self.body is not None else ["unexpected-body"]
        found += [*(OF_LIMITED if self.is_limited else ()), *ALWAYS]
        found += OF_CHANGES if self.changes else ()
        found += OF_TOKENS if self.permission is not None else ()
        return tuple(dict.fromkeys(found))


def with_page(operation: Operation) -> Operation:
    """Return a GET at whose path browsers get a page: its success response exists as HTML too."""
    first, *others = operation.answers
    page = replace(first, media={**first.media, HTML: str})
    return replace(operation, has_page=True, answers=(page, *others))


class SocketRoute(WebSocketRoute):
    """A WebSocket route. Its endpoint authenticates by itself, since browsers cannot send headers with a handshake.

    A plain HTTP request gets 426.
    """

    def __init__(self, path: str, endpoint: Any, *, permission: Permission) -> None:
        """Set the permission that the endpoint requires."""
        super().__init__(path, endpoint)
        self.permission = permission

    def matches(self, scope: Any) -> tuple[Match, Any]:
        """Match as Starlette does, and match plain HTTP requests too."""
        if scope["type"] == "http":
            return super().matches({**scope, "type": "websocket"})
        return super().matches(scope)

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle a handshake as Starlette does; respond 426 to plain GET and HEAD, 405 to other methods."""
        if scope["type"] != "http":
            await super().handle(scope, receive, send)
            return
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(405, headers={"Allow": "GET"})
        scheme = "wss" if scope.get("scheme") == "https" else "ws"
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "localhost")
        detail = f"connect with a WebSocket client, such as: websocat {scheme}://{host}{self.path}"
        raise ProblemError(problem("upgrade-required", detail))


class ApiRoute(Route):
    """A route that is served and documented from the same operations, which share its path.

    An ASGI endpoint receives every method and responds 405 itself.
    """

    def __init__(self, endpoint: Any, *operations: Operation) -> None:
        (path,) = {operation.path for operation in operations}
        is_view = inspect.isfunction(endpoint) or inspect.ismethod(endpoint)
        methods = [operation.method for operation in operations] if is_view else None
        super().__init__(path, endpoint, methods=methods)
        self.app = Inputs(self.app, operations)
        self.operations = operations


class EventStreamRoute(ApiRoute):
    """A GET of server-sent events at the path of a WebSocket, whose route must follow.

    It serves requests that name the media type; the next route refuses the others.
    """

    def matches(self, scope: Any) -> tuple[Match, Any]:
        """Match as Starlette does, if the request names `text/event-stream`."""
        if scope["type"] == "http" and not names_media(scope, EVENTS):
            return Match.NONE, {}
        return super().matches(scope)
