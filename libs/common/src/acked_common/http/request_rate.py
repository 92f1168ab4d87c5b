"""How many requests each client may send: a token bucket for each client. Pure: the caller passes the time."""

import math
from collections.abc import Hashable

from acked_common.model.token_bucket import TokenBucket

MAX_CLIENTS = 10_000
"""Buckets in memory. Beyond it full buckets are dropped first, as a new one is equal to them, then the oldest one."""


class RequestRate:
    """Allow each client `per_s` requests per second in the long run, and `burst` requests at once.

    `now` is on a monotonic clock, in seconds. The headers are those of draft-ietf-httpapi-ratelimit-headers-10: the
    window is the time in which an empty bucket fills.
    """

    def __init__(self, per_s: float, burst: int, *, max_clients: int = MAX_CLIENTS) -> None:
        self._per_s = per_s
        self._burst = float(burst)
        self._max_clients = max_clients
        self._buckets: dict[Hashable, TokenBucket] = {}
        self.policy = f'"default";q={burst};w={max(1, math.ceil(burst / per_s))}'.encode()
        """The value of the header RateLimit-Policy."""

    def take(self, client: Hashable, now: float) -> float:
        """Take a token. Return how many are left; without a token, minus the seconds until there is one."""
        bucket = self._buckets.get(client)
        if bucket is None:
            if len(self._buckets) >= self._max_clients:
                self._make_room(now)
            bucket = self._buckets[client] = TokenBucket(self._per_s, self._burst)
        return bucket.tokens if bucket.try_take(1.0, now) else -bucket.wait_s(1.0)

    def header(self, taken: float) -> bytes:
        """Return the value of the header RateLimit after a `take`."""
        if taken < 0:
            return b'"default";r=0;t=%d' % retry_after_s(taken)
        return b'"default";r=%d;t=%d' % (taken, math.ceil((self._burst - taken) / self._per_s))

    def _make_room(self, now: float) -> None:
        full = [client for client, bucket in self._buckets.items() if bucket.is_full(now)]
        for client in full or [next(iter(self._buckets))]:
            del self._buckets[client]


def retry_after_s(taken: float) -> int:
    """Return the whole seconds, at least 1, after a `take` without a token."""
    return max(1, math.ceil(-taken))
