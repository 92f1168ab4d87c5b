"""Authenticates clients of the feed, by a token in the handshake or in the first message.

Browsers can send no header with a WebSocket, and a URL must not carry a secret. Connections without a token yet are
bounded in number and time.
"""

import asyncio
from dataclasses import dataclass

from starlette.websockets import WebSocket, WebSocketDisconnect

from acked_common.api.authenticator import CLOSE_CODE, Authenticator
from acked_common.http.holdings import Ledger
from acked_common.http.limits import Client
from acked_common.http.problems import Problem, ProblemError, problem
from acked_common.http.responses import ProblemResponse
from acked_common.model.principal import LOCAL, Permission, Principal
from acked_common.model.tokens import TokenRecord
from acked_gateway.feed.frames import FeedError, error_frame, parse_authenticate

PERMISSION = Permission.READ
TOKEN_WITHIN_S = 5.0
MAX_AT_THE_DOOR = 1000
"""Unauthenticated connections in all; one remote address may have half of them."""
CLOSE_WITHIN_S = 1.0

NOT_ALLOWED = 4403
TRY_AGAIN_LATER = 1013
_CODES = {
    "missing-permission": NOT_ALLOWED,
    "access-unknown": TRY_AGAIN_LATER,
    "busy": TRY_AGAIN_LATER,
    "too-many-feeds": TRY_AGAIN_LATER,
}


@dataclass(frozen=True, slots=True)
class Guest:
    """The principal of a connection."""

    principal: Principal
    record: TokenRecord | None
    """None if the gateway requires no token."""

    @property
    def client(self) -> Client:
        """The holder of what this connection holds."""
        return None if self.record is None else (self.principal.tenant, self.principal.client)


def guest_of(record: TokenRecord | None) -> Guest:
    """Return who shows this token; None if the gateway requires none."""
    return Guest(LOCAL if record is None else record.principal, record)


class FeedEntry:
    """Admits the connections of one gateway process."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._door: Ledger[str] = Ledger(MAX_AT_THE_DOOR, MAX_AT_THE_DOOR // 2)
        """By remote address: nothing else is known of an unauthenticated client."""

    @property
    def asks(self) -> bool:
        """Whether the gateway requires a token."""
        return self._authenticator.asks

    def may_stay(self, guest: Guest) -> bool:
        """Return whether the token is still valid."""
        return self._authenticator.may_stay(guest.record)

    async def admit(self, websocket: WebSocket) -> Guest | None:
        """Accept the connection and return its principal; None if it was refused."""
        try:
            record = await self._authenticator.enter(websocket.scope, PERMISSION)
        except ProblemError as error:
            if error.problem.name == "no-token":
                return await self._admit_by_message(websocket)
            await websocket.send_denial_response(ProblemResponse(error.problem))
            return None
        await websocket.accept()
        return guest_of(record)

    async def _admit_by_message(self, websocket: WebSocket) -> Guest | None:
        address = websocket.client.host if websocket.client is not None else ""
        if self._door.take(address) is not None:
            busy = problem("busy", "too many connections have not authenticated yet; retry")
            await websocket.send_denial_response(ProblemResponse(busy))
            return None
        try:
            await websocket.accept()
            async with asyncio.timeout(TOKEN_WITHIN_S):
                message = await websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return None
                return guest_of(
                    await self._authenticator.enter_with(parse_authenticate(message.get("text")), PERMISSION)
                )
        except TimeoutError:
            await refuse(websocket, problem("no-token", f"no token was sent within {TOKEN_WITHIN_S:g} s"))
        except (FeedError, ProblemError) as error:
            await refuse(websocket, error.problem)
        finally:
            self._door.give_back(address)
        return None


async def refuse(websocket: WebSocket, found: Problem) -> None:
    """Send an accepted client the problem, and close."""
    try:
        async with asyncio.timeout(CLOSE_WITHIN_S):
            await websocket.send_text(error_frame(found, None))
            await websocket.close(_CODES.get(found.name, CLOSE_CODE), found.name)
    except (WebSocketDisconnect, RuntimeError, TimeoutError):
        # The client has left, or reads nothing: the server closes the socket by itself.
        pass
