"""OWNER of the broker port: what services ask of RabbitMQ."""

from typing import Protocol

from acked_common.model.bundle import Bundle


class BrokerError(Exception):
    """RabbitMQ is away, or did not confirm in time; what was asked may or may not have happened."""


class Publisher(Protocol):
    """Puts bundles on lanes."""

    async def publish(self, bundle: Bundle) -> None:
        """Returns when the broker has confirmed the bundle; raises `BrokerError` otherwise. Repeating is harmless."""
        ...


class LaneProbe(Protocol):
    """Tells how many bundles wait on a lane."""

    async def ready_bundles(self, lane: str) -> int:
        """Messages that wait unconsumed; 0 for a lane that has no queue yet. Raises `BrokerError`."""
        ...
