"""How fast something may come: a bucket of tokens that fills at a steady rate. Pure."""


class TokenBucket:
    """At most `per_s` in the long run, and `burst` at once. `now` is on a monotonic clock, in seconds."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._tokens = burst
        self._filled_at: float | None = None

    def take(self, count: float, now: float) -> float:
        """Takes tokens, on credit if need be; answers for how many seconds the taker has to wait."""
        if self._filled_at is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._per_s)
        self._filled_at = now
        self._tokens -= count
        return max(0.0, -self._tokens / self._per_s)
