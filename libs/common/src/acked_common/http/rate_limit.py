"""Refuses who asks too often: one rate for each client, ahead of all routes and behind the look at who it is.

Each process counts for itself. Who needs no token is not counted: there is nobody to tell from others.
"""

import time
from typing import Any

from acked_common.http.problems import ProblemError, problem
from acked_common.http.request_rate import RequestRate, retry_after_s
from acked_common.model.principal import LOCAL, principal_of


class RateLimit:
    """Counts each request and each WebSocket. `free` are paths that anybody may call at any time."""

    def __init__(self, rate: RequestRate, *, free: frozenset[str]) -> None:
        self._rate = rate
        self._free = free
        self._policy = (b"ratelimit-policy", rate.policy)

    def check(self, scope: Any) -> tuple[tuple[bytes, bytes], ...]:
        """The headers that tell the client its rate. Raises `ProblemError` where it has sent too many."""
        principal = principal_of(scope)
        if principal is LOCAL or (scope["path"] in self._free and scope["type"] == "http"):
            return ()
        taken = self._rate.take((principal.tenant, principal.client), time.monotonic())
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
