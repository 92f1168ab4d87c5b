"""Tokens over HTTP."""

from datetime import datetime
from itertools import islice

from starlette.requests import Request
from starlette.responses import Response

from acked_common.api.authenticator import TOKEN_KEY, Authenticator
from acked_common.api.routes import ApiRoute
from acked_common.http.responses import JsonResponse
from acked_common.model.instants import rfc3339
from acked_common.model.principal import Permission, principal_of
from acked_common.model.tokens import TokenRecord
from acked_gateway.tokens.operations import LIST_TOKENS, MAX_TOKENS, Token, Tokens


def token_routes(authenticator: Authenticator) -> list[ApiRoute]:
    """Return the route."""

    async def list_tokens(request: Request) -> Response:
        reader = principal_of(request.scope)
        own: TokenRecord | None = request.scope.get(TOKEN_KEY)
        may_list = Permission.OPERATE in reader.permissions
        found = sorted(
            authenticator.active_tokens(reader.tenant) if may_list else (),
            key=lambda record: (record.principal.client, record.id),
        )
        listed: Tokens = {
            "own": {
                "tenant": reader.tenant,
                "client": reader.client,
                "permissions": sorted(reader.permissions),
                "token_id": None if own is None else own.id,
                "expires_at": None if own is None else _instant(own.expires_at),
            },
            "asks_for_tokens": authenticator.asks,
            "tokens": [_token(record) for record in islice(found, MAX_TOKENS)],
            "is_complete": len(found) <= MAX_TOKENS,
        }
        return JsonResponse(listed)

    return [ApiRoute(list_tokens, LIST_TOKENS)]


def _token(record: TokenRecord) -> Token:
    return {
        "id": record.id,
        "client": record.principal.client,
        "permissions": sorted(record.principal.permissions),
        "made_at": rfc3339(record.made_at),
        "expires_at": _instant(record.expires_at),
    }


def _instant(at: datetime | None) -> str | None:
    return None if at is None else rfc3339(at)
