"""The typed route table: what each route takes and what it answers. Methods and API document both come from it."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.exceptions import HTTPException
from starlette.routing import Match, Route, WebSocketRoute

from acked_common.api.inputs import Inputs
from acked_common.http.problems import ProblemError, problem
from acked_common.model.principal import Permission

JSON = "application/json"
HTML = "text/html"

ALWAYS = (
    *("bad-http", "unsupported-transfer-coding", "slow-head", "slow-body", "headers-too-large"),
    *("bad-host", "host-not-allowed", "method-not-allowed", "unknown-field", "invalid-field", "internal"),
)
"""Problems that every route may answer with."""
OF_LIMITED = ("rate-limited", "too-many-requests", "busy")
"""Problems of what is refused to who asks too often or for too much at once, and where all ask for too much."""
OF_CHANGES = ("cross-site", "origin-not-allowed")
"""Problems of what changes something: a page of another site may not ask for it."""
OF_TOKENS = ("no-token", "unknown-token", "token-in-url", "missing-permission", "access-unknown")
"""Problems of what asks who calls."""
OF_JSON_BODIES = ("bad-json", "bad-encoding", "bad-number", "bad-text", "duplicate-key", "too-deep", "body-too-large")
"""Problems of strict JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter. `type` is any type that msgspec can describe, its limits in `Annotated`."""

    name: str
    place: Literal["path", "query", "header"]
    type: Any
    description: str
    example: str | int | float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A body of a request, in JSON."""

    type: Any
    description: str
    required: bool
    examples: Mapping[str, Any] = field(default_factory=dict)
    """Name and value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A header that an answer carries: always, or sometimes."""

    type: Any
    description: str
    is_always_there: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What an answer leads to: an operation of the same service, with parameters taken from the answer."""

    operation: str
    parameters: Mapping[str, str]
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiResponse:
    """What a route answers when it does what was asked; problems are not listed here."""

    description: str
    media: Mapping[str, Any]
    """Type of the body by media type; `str` for a text."""
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
    """What a token must allow; None: everybody may, whoever it is."""
    method: Literal["GET", "POST"] = "GET"
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    problems: tuple[str, ...] = ()
    """Names of the catalogue, beside those that every route has."""
    is_limited: bool = True
    """Whether it may be refused for want of room; health is told to anybody at any time."""
    is_change: bool = False
    """A GET that changes something; every other method does anyway."""
    of_all_tenants: bool = False
    """It concerns what all tenants share: only tokens of the tenant that runs the server may."""
    has_open_page: bool = False
    """A browser that opens it gets a page without showing a token."""

    @property
    def changes(self) -> bool:
        """Whether pages of other sites are kept out."""
        return self.is_change or self.method != "GET"

    @property
    def all_problems(self) -> tuple[str, ...]:
        """All names of problems that it may answer with."""
        has_path_parameter = any(parameter.place == "path" for parameter in self.parameters)
        found = [*self.problems, *(["not-found"] if has_path_parameter else [])]
        found += [] if self.body is not None else ["unexpected-body"]
        found += [*(OF_LIMITED if self.is_limited else ()), *ALWAYS]
        found += OF_CHANGES if self.changes else ()
        found += OF_TOKENS if self.permission is not None else ()
        return tuple(dict.fromkeys(found))


class SocketRoute(WebSocketRoute):
    """A WebSocket. Its endpoint asks who calls by itself, since browsers can send no header with one. A plain request
    is told to upgrade."""

    def __init__(self, path: str, endpoint: Any, *, permission: Permission) -> None:
        """`permission` is what the endpoint asks for."""
        super().__init__(path, endpoint)
        self.permission = permission

    def matches(self, scope: Any) -> tuple[Match, Any]:
        """As Starlette's, for plain requests too."""
        if scope["type"] == "http":
            return super().matches({**scope, "type": "websocket"})
        return super().matches(scope)

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        """As Starlette's; a plain request is 426, or 405 where not even a handshake could begin so."""
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
    """A route that is served and documented from the same operations; all of them have its path.

    An endpoint that is an ASGI application gets every method and answers 405 by itself.
    """

    def __init__(self, endpoint: Any, *operations: Operation) -> None:
        (path,) = {operation.path for operation in operations}
        is_view = inspect.isfunction(endpoint) or inspect.ismethod(endpoint)
        methods = [operation.method for operation in operations] if is_view else None
        super().__init__(path, endpoint, methods=methods)
        self.app = Inputs(self.app, operations)
        self.operations = operations
