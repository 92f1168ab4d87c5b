"""A token bucket: the one rule by which Acked limits rates. Pure.

A bucket holds at most `burst` tokens and refills at `per_s` tokens per second. It is full when it is made. A caller
either polices (`try_take`: no token, no service, and a refusal costs nothing) or shapes (`take`: on credit, and the
caller waits until the debt is paid). `now` is an instant of a monotonic clock in seconds.
"""


class TokenBucket:
    """Allow `per_s` tokens per second in the long run, and `burst` tokens at once."""

    __slots__ = ("_burst", "_filled_at", "_per_s", "tokens")

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._filled_at: float | None = None
        self.tokens = burst
        """How many tokens were left at the last call; negative after a `take` on credit."""

    def try_take(self, count: float, now: float) -> bool:
        """Take the tokens if all of them are there; take none otherwise."""
        self._fill(now)
        if self.tokens < count:
            return False
        self.tokens -= count
        return True

    def take(self, count: float, now: float) -> float:
        """Take the tokens, on credit if necessary. Return for how many seconds the caller has to wait."""
        self._fill(now)
        self.tokens -= count
        return self.wait_s(0.0)

    def wait_s(self, count: float) -> float:
        """Return how many seconds after the last call the bucket holds `count` tokens."""
        return max(0.0, (count - self.tokens) / self._per_s)

    def is_full(self, now: float) -> bool:
        """Return whether the bucket holds `burst` tokens."""
        self._fill(now)
        return self.tokens >= self._burst

    def _fill(self, now: float) -> None:
        if self._filled_at is not None:
            self.tokens = min(self._burst, self.tokens + (now - self._filled_at) * self._per_s)
        self._filled_at = now
