"""An in-memory broker for tests and demos: `Publisher` and `LaneProbe` with the same semantics.

Bundles are stored encoded, so each one passes the wire format.
"""

from collections import deque

from acked_common.broker import BrokerError
from acked_common.model.bundle import Bundle, decode_bundle, encode_bundle


class MemoryBroker:
    """Lanes in memory; nothing survives the process."""

    def __init__(self) -> None:
        self._lanes: dict[str, deque[bytes]] = {}
        self.is_away = False
        """While set, every call fails as it does without a server."""

    async def publish(self, bundle: Bundle) -> None:
        self._check()
        self._lanes.setdefault(bundle.lane, deque()).append(encode_bundle(bundle))

    async def ready_bundles(self, lane: str) -> int:
        self._check()
        return len(self._lanes.setdefault(lane, deque()))

    def take(self, lane: str) -> Bundle | None:
        """Pop the oldest bundle of a lane; None if it is empty."""
        waiting = self._lanes.get(lane)
        return decode_bundle(waiting.popleft()) if waiting else None

    def give_back(self, bundle: Bundle) -> None:
        """Return a bundle to the head of its lane, as a broker does when its consumer is gone."""
        self._lanes.setdefault(bundle.lane, deque()).appendleft(encode_bundle(bundle))

    def delete_lane(self, lane: str) -> None:
        """Delete a lane with its bundles; the next use creates it again."""
        self._lanes.pop(lane, None)

    def _check(self) -> None:
        if self.is_away:
            raise BrokerError("the broker in memory is away")
