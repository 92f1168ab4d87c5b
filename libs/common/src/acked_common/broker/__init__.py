"""OWNER of the broker port: the operations that services need from RabbitMQ."""

from typing import Protocol

from acked_common.model.bundle import Bundle


class BrokerError(Exception):
    """RabbitMQ is unavailable or did not confirm in time; the operation may or may not have happened."""


class Publisher(Protocol):
    """Publish bundles to lanes."""

    async def publish(self, bundle: Bundle) -> None:
        """Return once the broker has confirmed the bundle; raise `BrokerError` otherwise. Repeating is safe."""
        ...


class LaneProbe(Protocol):
    """Count the bundles that wait on a lane."""

    async def ready_bundles(self, lane: str) -> int:
        """Return the number of ready messages; 0 for a lane without a queue. Raise `BrokerError`."""
        ...
