"""Whether a consumer still hears its queue. Pure: it is told the time.

RabbitMQ carries the consumers of a queue that is deleted and made again at once over to the new one. 3.10 then takes
the numbers of new messages for old ones and keeps them from the consumer, which counts as there and hears nothing ever
again. Nothing tells it. On a new channel it hears, and gets what was kept from it.
"""

from enum import Enum

DEAF_AFTER_S = 4.0
"""Between two looks that both see bundles wait, while a consumer with nothing in hand gets none."""
SILENT_S = 60.0
"""What a deaf consumer was handed waits nowhere that can be seen: after so long without a bundle it is made anew."""


class Verdict(Enum):
    """What a look at the queue shows of its consumer."""

    HEARS = "hears"
    DEAF = "deaf"
    SILENT = "silent"


class ConsumerLiveness:
    """What one consumer of a queue has heard. Instants are those of a monotonic clock, in seconds."""

    def __init__(self) -> None:
        self.in_hand = 0
        """Bundles that have come and are not acknowledged."""
        self._changed_at = 0.0
        self._waiting_since: float | None = None

    def heard(self, now: float) -> None:
        """A bundle has arrived."""
        self.in_hand += 1
        self._changed_at = now

    def acknowledged(self, now: float) -> None:
        """A bundle was acknowledged: another may come."""
        self.in_hand -= 1
        self._changed_at = now

    def look(self, waiting: int, now: float, *, consumes_since: float) -> Verdict:
        """So many bundles wait in the queue now, which nobody has in hand."""
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
