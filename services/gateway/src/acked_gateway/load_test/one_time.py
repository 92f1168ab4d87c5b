"""The one-time values with which a page may start a load test by itself. Pure: no clock, no I/O.

The gateway puts a value into the page only where a person asked for it, and the page gives it back with its call. Page
and call may reach different processes behind one port, so a value proves itself: it is a MAC over its batch and its
end, with a key that all gateways derive from the worker secret. Nothing is kept for a value that was given out.

It is used up in two ways. The process that takes it remembers it until its end. Other processes see the jobs of its
batch in the store. So a page that comes again, from a history, a restored tab or a copy, starts nothing.
"""

import hashlib
import hmac
import secrets
from collections import OrderedDict

HOLDS_S = 300.0
"""Long enough to type a token into the page."""
MOST_USED = 10_000
"""Values that were used and would still hold; with more of them a page waits for a click."""


class OneTimeValues:
    """Gives out and takes values."""

    def __init__(self, secret: str | None) -> None:
        """Without the secret that gateways share, only the process that gave a value out takes it."""
        shared = secret.encode() if secret is not None else secrets.token_bytes(32)
        self._key = hmac.digest(shared, b"acked: a page starts its load test", hashlib.sha256)
        self._used: OrderedDict[str, float] = OrderedDict()

    def give(self, batch: str, now_s: float) -> str:
        """A value for one test with this batch name. `now_s` is the time that all gateways share, in seconds."""
        ends = str(int(now_s + HOLDS_S))
        return f"{ends}.{self._mac(ends, batch)}"

    def take(self, value: str, batch: str, now_s: float) -> bool:
        """Whether the value holds for the batch and was not used here; from now on it is used."""
        ends, _, mac = value.partition(".")
        if not hmac.compare_digest(mac.encode("utf-8", "replace"), self._mac(ends, batch).encode()):
            return False
        # What passed the check was written by a gateway.
        until = float(ends)
        while self._used and next(iter(self._used.values())) < now_s:
            self._used.popitem(last=False)
        if until < now_s or mac in self._used or len(self._used) >= MOST_USED:
            return False
        self._used[mac] = until
        return True

    def _mac(self, ends: str, batch: str) -> str:
        return hmac.digest(self._key, f"{ends} {batch}".encode("utf-8", "replace"), hashlib.sha256).hex()
