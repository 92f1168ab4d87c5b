"""One-time values with which a page may start a load test by itself. Pure: no clock, no I/O.

The gateway puts a value into a page that a person opened, and the page sends it with its request. Page and request may
reach different processes behind one port, so a value is self-contained: a MAC over its batch and its expiry, with a key
that all gateways derive from the worker secret. No state is stored for issued values.

Two mechanisms make a value single-use. The process that redeems it remembers it until it expires. Other processes find
the jobs of its batch in the store. So a page from the history, a restored tab or a copy starts no test.
"""

import hashlib
import hmac
import secrets
from collections import OrderedDict

VALID_S = 300.0
"""Long enough to type a token into the page."""
MOST_USED = 10_000
"""Redeemed values that have not expired. Beyond it, pages wait for a click."""


class OneTimeValues:
    """Issues and redeems values."""

    def __init__(self, secret: str | None) -> None:
        """Without the secret that gateways share, only the process that issued a value redeems it."""
        shared = secret.encode() if secret is not None else secrets.token_bytes(32)
        self._key = hmac.digest(shared, b"acked: a page starts its load test", hashlib.sha256)
        self._used: OrderedDict[str, float] = OrderedDict()

    def issue(self, batch: str, now_s: float) -> str:
        """Issue a value for one test with this batch name. `now_s` is the time that all gateways share, in seconds."""
        expires = str(int(now_s + VALID_S))
        return f"{expires}.{self._mac(expires, batch)}"

    def redeem(self, value: str, batch: str, now_s: float) -> bool:
        """Use a value up; return whether it is valid for the batch and was not redeemed in this process."""
        expires, _, mac = value.partition(".")
        if not hmac.compare_digest(mac.encode("utf-8", "replace"), self._mac(expires, batch).encode()):
            return False
        # The MAC proves that a gateway wrote it.
        until = float(expires)
        while self._used and next(iter(self._used.values())) < now_s:
            self._used.popitem(last=False)
        if until < now_s or mac in self._used or len(self._used) >= MOST_USED:
            return False
        self._used[mac] = until
        return True

    def _mac(self, expires: str, batch: str) -> str:
        return hmac.digest(self._key, f"{expires} {batch}".encode("utf-8", "replace"), hashlib.sha256).hex()
