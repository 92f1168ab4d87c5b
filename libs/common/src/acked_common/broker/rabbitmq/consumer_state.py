"""Decides what the consumer of one queue does next: pause, consume, cancel, check, or wait to retry. Pure.

The consumer reports what it did, with the time of one monotonic clock, and performs the step that it gets back.
"""

from enum import Enum, auto

from acked_common.model.backoff import Backoff

ROUND_S = 1.0
LOOK_EVERY_S = 5.0
RESTART = Backoff(base_s=0.4, cap_s=3.0)


class ConsumerStep(Enum):
    """The next step of a consumer; see `ConsumerState.next_step`."""

    CANCEL = auto()
    """End the present consumer: it is paused, or gets another prefetch."""
    REST = auto()
    """No more bundles can arrive, so waiters for the pause may continue."""
    CONSUME = auto()
    CHECK = auto()
    """It should be consuming: check the channel, and periodically the queue."""


class ConsumerState:
    """The state of one consumer. Instants are those of a monotonic clock, in seconds."""

    def __init__(self, prefetch: int | None, now: float) -> None:
        """Take the limit of unacknowledged messages; None: the consumer acknowledges none."""
        self.prefetch = prefetch
        self.applied_prefetch = prefetch
        """That of the present consumer, or of the last one."""
        self._paused_for: set[str] = set()
        self.has_consumer = False
        """The broker knows a consumer of ours, as far as we know."""
        self.is_between = False
        """Cancelled by itself, to consume again soon."""
        self.consumes_since = 0.0
        """When messages were last requested from the broker."""
        self._failures = 0
        self._looked_at = now

    @property
    def is_paused(self) -> bool:
        """Whether the consumer is paused."""
        return bool(self._paused_for)

    @property
    def expects_messages(self) -> bool:
        """Whether messages can arrive, in a moment at the latest, if the channel is open."""
        return self.has_consumer or self.is_between

    def pause(self, reason: str) -> bool:
        """Add a reason to pause; return whether it is new."""
        if reason in self._paused_for:
            return False
        self._paused_for.add(reason)
        return True

    def resume(self, reason: str) -> bool:
        """Remove a reason to pause; return whether it was one."""
        if reason not in self._paused_for:
            return False
        self._paused_for.remove(reason)
        return True

    def set_prefetch(self, prefetch: int) -> bool:
        """Change the prefetch, which a new consumer applies; return whether it differs."""
        is_new = prefetch != self.prefetch
        self.prefetch = prefetch
        return is_new

    def next_step(self) -> ConsumerStep:
        """Return the step to perform now. `CANCEL` comes before another step in the same round."""
        if self.has_consumer and (self._paused_for or self.applied_prefetch != self.prefetch):
            return ConsumerStep.CANCEL
        if self._paused_for:
            return ConsumerStep.REST
        return ConsumerStep.CHECK if self.has_consumer else ConsumerStep.CONSUME

    def take_look(self, now: float) -> bool:
        """Return whether a check of the queue is due; if so, schedule the next one."""
        if now - self._looked_at < LOOK_EVERY_S:
            return False
        self._looked_at = now
        return True

    def consumed(self, prefetch: int | None, now: float) -> None:
        """Record that the broker has this consumer, with this prefetch."""
        self.has_consumer, self.is_between = True, False
        self.applied_prefetch = prefetch
        self._looked_at = self.consumes_since = now
        self._failures = 0

    def cancelling(self, *, is_open: bool) -> None:
        """Record that the consumer is being cancelled, to consume again or to pause."""
        self.is_between = self.is_between or (self.has_consumer and is_open)
        self.has_consumer = False

    def dropped(self) -> None:
        """Record that the channel is closed, and its consumer with it."""
        self.has_consumer = self.is_between = False

    def failed(self) -> bool:
        """Record a failed step; return whether it is the first in a row, and worth a warning."""
        self._failures += 1
        return self._failures == 1

    def wait_s(self, chance: float) -> float:
        """Return the seconds to wait for a change before the next round; back off after failures. `chance`: 0 to 1."""
        if not self._failures:
            return ROUND_S
        return RESTART.equal_jitter_s(self._failures, draw=lambda: chance)
