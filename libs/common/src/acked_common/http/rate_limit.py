"""Limit the request rate of each client, after its token is known and before all routes.

Each process counts separately. Requests without a token are not counted, because their clients can't be distinguished.
"""

import asyncio
import time
from typing import Any

from acked_common.http.problems import ProblemError, problem
from acked_common.http.request_rate import RequestRate, retry_after_s
from acked_common.model.principal import LOCAL, principal_of

RATE_KEY = "acked.rate"
"""Key of the rate limit in the ASGI scope of a request that it counts."""


class RateLimit:
    """Counts each request and each WebSocket. `free` are paths without a limit."""

    def __init__(self, rate: RequestRate, *, free: frozenset[str]) -> None:
        self._rate = rate
        self._free = free
        self._policy = (b"ratelimit-policy", rate.policy)

    def check(self, scope: Any) -> tuple[tuple[bytes, bytes], ...]:
        """Count a request and return the headers that describe the client's rate. Raises `ProblemError` beyond the
        rate."""
        principal = principal_of(scope)
        if principal is LOCAL or (scope["path"] in self._free and scope["type"] == "http"):
            return ()
        scope[RATE_KEY] = self
        taken = self._take(scope)
        left = self._rate.header(taken)
        if taken >= 0:
            return self._policy, (b"ratelimit", left)
        raise ProblemError(
            problem(
                "rate-limited",
                "this client has sent more requests than its rate allows",
                headers={
                    "Retry-After": str(retry_after_s(taken)),
                    "RateLimit-Policy": self._rate.policy.decode(),
                    "RateLimit": left.decode(),
                },
            )
        )

    async def wait_for_turn(self, scope: Any) -> None:
        """Count one more request of the client, as soon as its rate allows it."""
        # Time ends the wait, and no event.
        while (taken := self._take(scope)) < 0:  # noqa: ASYNC110
            await asyncio.sleep(-taken)

    def _take(self, scope: Any) -> float:
        principal = principal_of(scope)
        return self._rate.take((principal.tenant, principal.client), time.monotonic())


async def wait_for_turn(scope: Any) -> None:
    """Count one more request of the client of this one, and wait until its rate allows it: for a request that carries
    several. Returns at once where no rate applies."""
    limit: RateLimit | None = scope.get(RATE_KEY)
    if limit is not None:
        await limit.wait_for_turn(scope)
