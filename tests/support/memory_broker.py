"""A broker in this process's memory, for tests and demos: `Publisher` and `LaneProbe` with the same meaning.

Bundles are kept as their bytes, so that what travels here has passed the wire format.
"""

from collections import deque

from acked_common.broker import BrokerError
from acked_common.model.bundle import Bundle, decode_bundle, encode_bundle


class MemoryBroker:
    """Lanes in memory; nothing survives the process."""

    def __init__(self) -> None:
        self._lanes: dict[str, deque[bytes]] = {}
        self.is_away = False
        """Set it, and every call fails as it does without a server."""

    async def publish(self, bundle: Bundle) -> None:
        self._check()
        self._lanes.setdefault(bundle.lane, deque()).append(encode_bundle(bundle))

    async def ready_bundles(self, lane: str) -> int:
        self._check()
        return len(self._lanes.setdefault(lane, deque()))

    def take(self, lane: str) -> Bundle | None:
        """The oldest bundle of a lane, which it leaves; None when nothing waits."""
        waiting = self._lanes.get(lane)
        return decode_bundle(waiting.popleft()) if waiting else None

    def give_back(self, bundle: Bundle) -> None:
        """Puts a bundle that was taken back to the head of its lane, as a broker does when its consumer is gone."""
        self._lanes.setdefault(bundle.lane, deque()).appendleft(encode_bundle(bundle))

    def delete_lane(self, lane: str) -> None:
        """Loses a lane with all that waits on it; the next use makes it again."""
        self._lanes.pop(lane, None)

    def _check(self) -> None:
        if self.is_away:
            raise BrokerError("the broker in memory is away")
