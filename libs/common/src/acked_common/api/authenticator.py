"""The gate in front of every route: whose token is it, and does it allow what the route does.

Nothing is open by itself: a route that names neither a permission nor `None`, for everybody, can't be served.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.routing import BaseRoute

from acked_common.api.routes import ApiRoute, Operation, SocketRoute
from acked_common.background.token_cache import TokenCache
from acked_common.http.problems import Problem, ProblemError, problem
from acked_common.http.request_source import asks_for_page
from acked_common.model.principal import DEFAULT_TENANT, SCOPE_KEY, Permission, Principal
from acked_common.model.tokens import TokenRecord, is_in_query

TOKEN_KEY = "acked.token"  # noqa: S105 - the name of a place
"""Where the gate leaves the record of a request's token in the ASGI scope; not there where no token is asked for."""

CLOSE_CODE = 4401
"""Of a WebSocket whose token is wrong, is missing, or holds no longer."""

App = Callable[[Any, Any, Any], Awaitable[None]]


class Authenticator:
    """Asks for tokens; without a table it lets everybody in as the local client."""

    def __init__(self, table: TokenCache | None) -> None:
        self._table = table

    @property
    def asks(self) -> bool:
        """Whether a token is needed."""
        return self._table is not None

    def recognize(self, scope: Any) -> None:
        """Leaves the principal in the scope where its token is known without asking MongoDB, for whoever wants to know
        ahead of the routes. Refuses nobody: the routes do, and look for tokens that are new here."""
        if self._table is None:
            return
        found = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(found) == 1 and (record := self._table.known(_bearer(found[0]))) is not None:
            _note(scope, record)

    def stand_before(self, routes: Sequence[BaseRoute]) -> None:
        """Stands before each route from now on. Raises ValueError for a route of which nobody says who may use it."""
        for route in routes:
            if isinstance(route, ApiRoute):
                if self._table is not None:
                    route.app = _Guarded(route.app, route.operations, self._table)
            elif not isinstance(route, SocketRoute):
                raise ValueError(f"{route} does not say who may use it")

    async def enter(self, scope: Mapping[str, Any], permission: Permission) -> TokenRecord | None:
        """Whose token a WebSocket's handshake carries; None where no token is asked for. Raises `ProblemError`."""
        if self._table is None:
            return None
        record: TokenRecord | None = scope.get(TOKEN_KEY)
        if record is None:
            return await self.enter_with(presented(scope), permission)
        check_url(scope)
        check_permission(record.principal, permission, of_all_tenants=permission is Permission.WORKER)
        return record

    async def enter_with(self, token: bytes, permission: Permission) -> TokenRecord | None:
        """As `enter`, with a token that came another way."""
        if self._table is None:
            return None
        record = self._table.known(token) or await self._table.find(token)
        check_permission(record.principal, permission, of_all_tenants=permission is Permission.WORKER)
        return record

    def may_stay(self, record: TokenRecord | None) -> bool:
        """Whether who was let in may stay."""
        return record is None or self._table is None or self._table.holds(record)

    def check_still(self, scope: Mapping[str, Any]) -> None:
        """For an answer that was long in coming. Raises `ProblemError` where the token holds no longer."""
        if not self.may_stay(scope.get(TOKEN_KEY)):
            raise ProblemError(problem("unknown-token", "the token was revoked or has expired meanwhile"))


class _Guarded:
    """One route behind the gate."""

    def __init__(self, app: App, operations: Sequence[Operation], table: TokenCache) -> None:
        self._app = app
        self._table = table
        self._operations: dict[str, Operation] = {operation.method: operation for operation in operations}
        if "GET" in self._operations:
            # Served wherever GET is.
            self._operations["HEAD"] = self._operations["GET"]

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        # A method that is not served is refused by the route itself.
        operation = self._operations.get(scope["method"])
        if operation is None or operation.permission is None or (operation.has_open_page and asks_for_page(scope)):
            return self._app(scope, receive, send)
        record: TokenRecord | None = scope.get(TOKEN_KEY)
        if record is None:
            return self._find_and_serve(operation, operation.permission, scope, receive, send)
        check_url(scope)
        check_permission(record.principal, operation.permission, of_all_tenants=operation.of_all_tenants)
        return self._app(scope, receive, send)

    async def _find_and_serve(
        self, operation: Operation, permission: Permission, scope: Any, receive: Any, send: Any
    ) -> None:
        record = await self._table.find(presented(scope))
        _note(scope, record)
        check_permission(record.principal, permission, of_all_tenants=operation.of_all_tenants)
        await self._app(scope, receive, send)


def _note(scope: Any, record: TokenRecord) -> None:
    scope[SCOPE_KEY] = record.principal
    scope[TOKEN_KEY] = record


def _bearer(authorization: bytes) -> bytes:
    """The token in the header's value; empty where it has another scheme."""
    scheme, _, token = authorization.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def check_url(scope: Mapping[str, Any]) -> None:
    """Raises `ProblemError` where the URL carries a token."""
    query = scope["query_string"]
    if query and is_in_query(query):
        raise ProblemError(
            problem(
                "token-in-url",
                "the URL carries a token, where logs and histories keep it: revoke it, and send another one in the "
                "header Authorization: Bearer <token>",
            )
        )


def presented(scope: Mapping[str, Any]) -> bytes:
    """The token that a request or a handshake carries. Raises `ProblemError`."""
    check_url(scope)
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    if not found:
        raise ProblemError(_no_token("send the header Authorization: Bearer <token>"))
    if len(found) > 1:
        raise ProblemError(_no_token("there is more than one Authorization header; send one"))
    if not (token := _bearer(found[0])):
        raise ProblemError(_no_token("the Authorization header must read: Bearer <token>"))
    return token


def check_permission(principal: Principal, permission: Permission, *, of_all_tenants: bool = False) -> None:
    """Raises `ProblemError` where the principal may not."""
    if permission not in principal.permissions:
        has = ", ".join(sorted(principal.permissions)) or "nothing"
        raise ProblemError(
            problem(
                "missing-permission",
                f"this needs a token with the permission {permission}; this one allows {has}",
                headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{permission}"'},
            )
        )
    if of_all_tenants and principal.tenant != DEFAULT_TENANT:
        raise ProblemError(
            problem(
                "missing-permission",
                f"this concerns what all tenants share: it needs a token of the tenant {DEFAULT_TENANT!r} with the "
                f"permission {permission}",
            )
        )


def _no_token(detail: str) -> Problem:
    return problem("no-token", detail)
