"""Detect a consumer that no longer receives its queue's messages. Pure: the caller passes the time.

RabbitMQ transfers the consumers of a queue that is deleted and declared again at once to the new one. 3.10 then takes
the numbers of new messages for old ones and withholds them from the consumer. It stays registered, receives nothing,
and gets no notice. On a new channel it receives messages again, the withheld ones included.
"""

from enum import Enum

DEAF_AFTER_S = 4.0
"""The interval of two checks that both find waiting bundles while an idle consumer receives none."""
SILENT_S = 60.0
"""Bundles that the broker has assigned to a dead consumer are invisible, so a consumer without any is replaced after
this."""


class Verdict(Enum):
    """The result of a check."""

    HEARS = "hears"
    DEAF = "deaf"
    SILENT = "silent"


class ConsumerLiveness:
    """The deliveries of one consumer. Instants are those of a monotonic clock, in seconds."""

    def __init__(self) -> None:
        self.in_hand = 0
        """Bundles that have come and are not acknowledged."""
        self._changed_at = 0.0
        self._waiting_since: float | None = None

    def heard(self, now: float) -> None:
        """Record that a bundle arrived."""
        self.in_hand += 1
        self._changed_at = now

    def acknowledged(self, now: float) -> None:
        """Record that a bundle was acknowledged: another may arrive."""
        self.in_hand -= 1
        self._changed_at = now

    def look(self, waiting: int, now: float, *, consumes_since: float) -> Verdict:
        """Judge the consumer by the number of ready bundles, which no consumer has."""
        if self.in_hand:
            return Verdict.HEARS
        since = max(self._changed_at, consumes_since)
        if not waiting:
            self._waiting_since = None
        elif self._waiting_since is None or self._waiting_since < since:
            self._waiting_since = now
        elif now - self._waiting_since >= DEAF_AFTER_S:
            return Verdict.DEAF
        return Verdict.SILENT if now - since >= SILENT_S else Verdict.HEARS
