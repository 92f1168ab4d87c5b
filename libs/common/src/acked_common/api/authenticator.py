"""Authenticate every route: resolve the token to its principal and check the permission that the route requires.

Routes are closed by default. A route that declares neither a permission nor `None` (public) is rejected at start-up.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.routing import BaseRoute

from acked_common.api.routes import ApiRoute, Operation, SocketRoute
from acked_common.background.token_cache import TokenCache
from acked_common.http.problems import Problem, ProblemError, problem
from acked_common.model.principal import DEFAULT_TENANT, SCOPE_KEY, Actor, Operator, Permission, Principal, principal_of
from acked_common.model.tokens import TokenRecord, is_in_query

TOKEN_KEY = "acked.token"  # noqa: S105 - the name of a place
"""Key of the token record in the ASGI scope; absent when authentication is off."""

CLOSE_CODE = 4401
"""Close code of a WebSocket whose token is missing, invalid, expired or revoked."""

App = Callable[[Any, Any, Any], Awaitable[None]]


class Authenticator:
    """Require tokens on routes; without a token cache every request runs as the local client."""

    def __init__(self, table: TokenCache | None) -> None:
        self._table = table

    @property
    def asks(self) -> bool:
        """Whether requests need a token."""
        return self._table is not None

    def recognize(self, scope: Any) -> None:
        """Store the principal in the scope if its token is cached, for middleware that runs ahead of the routes.

        Never rejects a request and never queries MongoDB: the routes do both.
        """
        if self._table is None:
            return
        found = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(found) == 1 and (record := self._table.known(_bearer(found[0]))) is not None:
            _note(scope, record)

    def stand_before(self, routes: Sequence[BaseRoute]) -> None:
        """Wrap each route with authentication. Raise ValueError for a route without a declared permission."""
        for route in routes:
            if isinstance(route, ApiRoute):
                if self._table is not None:
                    route.app = _Guarded(route.app, route.operations, self._table)
            elif not isinstance(route, SocketRoute):
                raise ValueError(f"{route} declares no permission")

    async def enter(self, scope: Mapping[str, Any], permission: Permission) -> TokenRecord | None:
        """Return the token record of a WebSocket handshake; None when authentication is off. Raise `ProblemError`."""
        if self._table is None:
            return None
        record: TokenRecord | None = scope.get(TOKEN_KEY)
        if record is None:
            return await self.enter_with(presented(scope), permission)
        check_url(scope)
        check_permission(record.principal, permission, of_all_tenants=permission is Permission.WORKER)
        return record

    async def enter_with(self, token: bytes, permission: Permission) -> TokenRecord | None:
        """Do as `enter`, with a token that did not come in the handshake's headers."""
        if self._table is None:
            return None
        record = self._table.known(token) or await self._table.find(token)
        check_permission(record.principal, permission, of_all_tenants=permission is Permission.WORKER)
        return record

    def active_tokens(self, tenant: str) -> list[TokenRecord]:
        """Return the tenant's active tokens as of the last refresh, in no order; none when authentication is off."""
        return [] if self._table is None else self._table.active(tenant)

    def may_stay(self, record: TokenRecord | None) -> bool:
        """Whether the token of an open connection is still valid."""
        return record is None or self._table is None or self._table.holds(record)

    def check_still(self, scope: Mapping[str, Any]) -> None:
        """Check the token again after a long wait. Raise `ProblemError` if it was revoked or has expired."""
        if not self.may_stay(scope.get(TOKEN_KEY)):
            raise ProblemError(problem("unknown-token", "the token was revoked or has expired meanwhile"))


class _Guarded:
    """One authenticated route."""

    def __init__(self, app: App, operations: Sequence[Operation], table: TokenCache) -> None:
        self._app = app
        self._table = table
        self._operations: dict[str, Operation] = {operation.method: operation for operation in operations}
        if "GET" in self._operations:
            # Starlette serves HEAD wherever GET is served.
            self._operations["HEAD"] = self._operations["GET"]

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        # The route itself responds 405 to other methods.
        operation = self._operations.get(scope["method"])
        if operation is None or operation.permission is None:
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


def operator_of(scope: Mapping[str, Any]) -> Operator:
    """Return the actor of a request from its ASGI scope, after authentication; `local` if authentication is off."""
    record: TokenRecord | None = scope.get(TOKEN_KEY)
    principal = principal_of(scope)
    return Operator(principal.tenant, Actor(principal.client, None if record is None else record.id))


def _note(scope: Any, record: TokenRecord) -> None:
    scope[SCOPE_KEY] = record.principal
    scope[TOKEN_KEY] = record


def _bearer(authorization: bytes) -> bytes:
    """Return the token of an `Authorization` value; empty for another scheme."""
    scheme, _, token = authorization.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def check_url(scope: Mapping[str, Any]) -> None:
    """Raise `ProblemError` if the URL carries a token."""
    query = scope["query_string"]
    if query and is_in_query(query):
        raise ProblemError(
            problem(
                "token-in-url",
                "the URL carries a token, where logs and histories record it: revoke it, and send a new one in the "
                "header Authorization: Bearer <token>",
            )
        )


def presented(scope: Mapping[str, Any]) -> bytes:
    """Return the bearer token of a request or handshake. Raise `ProblemError`."""
    check_url(scope)
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    if not found:
        raise ProblemError(_no_token("send the header Authorization: Bearer <token>"))
    if len(found) > 1:
        raise ProblemError(_no_token("the request has more than one Authorization header; send one"))
    if not (token := _bearer(found[0])):
        raise ProblemError(_no_token("the Authorization header must read: Bearer <token>"))
    return token


def check_permission(principal: Principal, permission: Permission, *, of_all_tenants: bool = False) -> None:
    """Raise `ProblemError` if the principal lacks the permission.

    With `of_all_tenants` the principal must also belong to the operator's tenant.
    """
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
                f"this operation affects all tenants: it needs a token of the tenant {DEFAULT_TENANT!r} with the "
                f"permission {permission}",
            )
        )


def _no_token(detail: str) -> Problem:
    return problem("no-token", detail)
