"""How many requests each client may send: a bucket of tokens, filled at a steady rate. Pure: it is told the time."""

import math
from collections.abc import Hashable

MAX_CLIENTS = 10_000
"""Buckets that are kept; beyond it full ones go first, as they say nothing, then the oldest."""


class RequestRate:
    """At most `per_s` requests a second in the long run, and `burst` at once, for each client.

    `now` is on a monotonic clock, in seconds. The headers are those of draft-ietf-httpapi-ratelimit-headers-10: the
    window is the time in which an empty bucket fills.
    """

    def __init__(self, per_s: float, burst: int, *, max_clients: int = MAX_CLIENTS) -> None:
        self._per_s = per_s
        self._burst = float(burst)
        self._max_clients = max_clients
        self._buckets: dict[Hashable, list[float]] = {}
        self.policy = f'"default";q={burst};w={max(1, math.ceil(burst / per_s))}'.encode()
        """The value of the header RateLimit-Policy."""

    def take(self, client: Hashable, now: float) -> float:
        """Takes a token. Answers how many are left; where none was there, less than 0: the seconds until one is."""
        bucket = self._buckets.get(client)
        if bucket is None:
            if len(self._buckets) >= self._max_clients:
                self._make_room(now)
            bucket = self._buckets[client] = [self._burst, now]
        tokens = min(self._burst, bucket[0] + (now - bucket[1]) * self._per_s)
        bucket[1] = now
        if tokens < 1.0:
            bucket[0] = tokens
            return (tokens - 1.0) / self._per_s
        bucket[0] = tokens - 1.0
        return tokens - 1.0

    def header(self, taken: float) -> bytes:
        """The value of the header RateLimit after a `take`."""
        if taken < 0:
            return b'"default";r=0;t=%d' % retry_after_s(taken)
        return b'"default";r=%d;t=%d' % (taken, math.ceil((self._burst - taken) / self._per_s))

    def _make_room(self, now: float) -> None:
        full = [
            client for client, (tokens, at) in self._buckets.items() if tokens + (now - at) * self._per_s >= self._burst
        ]
        for client in full or [next(iter(self._buckets))]:
            del self._buckets[client]


def retry_after_s(taken: float) -> int:
    """Whole seconds, 1 at least, after a `take` that got nothing."""
    return max(1, math.ceil(-taken))
