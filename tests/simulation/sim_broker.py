"""The broker in virtual time: channels and consumers, deliveries that are lost, doubled and delivered again."""

import asyncio
from typing import TYPE_CHECKING

from acked_common.broker import BrokerError
from acked_common.model.bundle import Bundle
from simulation.loop import STRAND
from simulation.sim_channel import SimChannel, Subscription
from simulation.sim_store import at_once
from support.memory_broker import MemoryBroker

if TYPE_CHECKING:
    from simulation.simulator import Simulator


class SimBroker:
    """The broker that all processes share."""

    def __init__(self, simulator: "Simulator") -> None:
        self._simulator = simulator
        self.queues = MemoryBroker()
        self.channels: list[SimChannel] = []
        self.lanes: set[str] = set()
        self.swallows = False
        """It confirms every bundle and keeps none."""

    @property
    def unacked(self) -> int:
        """Bundles that consumers hold."""
        return sum(len(one.unacked) for channel in self.channels for one in channel.subscriptions.values())

    def ready(self) -> int:
        """Bundles that wait."""
        away, self.queues.is_away = self.queues.is_away, False
        try:
            return sum(self.depth(lane) for lane in sorted(self.lanes))
        finally:
            self.queues.is_away = away

    def put(self, bundle: Bundle) -> None:
        """A bundle has arrived."""
        self.lanes.add(bundle.lane)
        at_once(self.queues.publish(bundle))
        self.pump(bundle.lane)

    def pump(self, lane: str) -> None:
        """Delivers what waits to consumers that take more."""
        if self.queues.is_away:
            return
        while takers := [one for one in self.subscriptions(lane) if one.takes_more]:
            bundle = self.queues.take(lane)
            if bundle is None:
                return
            self._simulator.rng.choice(takers).deliver(bundle)

    def subscriptions(self, lane: str) -> "list[Subscription]":
        """Those that consume a lane."""
        found = [one for channel in self.channels for one in channel.subscriptions.values()]
        return [one for one in found if one.lane == lane and one.is_active]

    def depth(self, lane: str) -> int:
        """Bundles that wait on a lane."""
        return int(at_once(self.queues.ready_bundles(lane)))

    def pump_all(self) -> None:
        """As `pump`, on every lane."""
        for lane in sorted(self.lanes):
            self.pump(lane)

    def lose_lane(self, lane: str, *, with_unacked: bool) -> None:
        """Loses what waits on a lane; with its queue, its consumers and what they hold too."""
        self.queues.delete_lane(lane)
        if with_unacked:
            for one in self.subscriptions(lane):
                one.lose_queue()

    def close_channels(self) -> None:
        """All connections are gone; what was not acknowledged waits again."""
        for channel in list(self.channels):
            channel.break_down()


class SimPublisher:
    """`RabbitPublisher` on the broker in memory."""

    def __init__(self, url: str, *, name: str) -> None:
        self._process = STRAND.get().process
        self._simulator = self._process.loop.simulation  # type: ignore[attr-defined]

    @property
    def is_open(self) -> bool:
        """As of `RabbitPublisher`."""
        return True

    async def publish(self, bundle: Bundle) -> None:
        """As of `Publisher`."""
        confirmed = self._simulator.loop.create_future()
        self._simulator.loop.outside_later(self._simulator.delay_s(), self._arrive, bundle, confirmed)
        await confirmed

    def _arrive(self, bundle: Bundle, confirmed: "asyncio.Future[None]") -> None:
        simulator, chance = self._simulator, self._simulator.rng.random
        rates = simulator.rates
        if simulator.broker.queues.is_away or chance() < rates.publish_lost:
            simulator.note(self._process.name, "publication lost", *bundle.ids)
            self._later(confirmed, BrokerError("not confirmed"))
            return
        if simulator.broker.swallows or chance() < rates.publish_vanishes:
            simulator.note(self._process.name, "bundle confirmed and lost", *bundle.ids)
        else:
            copies = 2 if chance() < rates.publish_twice else 1
            simulator.note(self._process.name, f"published x{copies}", *bundle.ids)
            for _ in range(copies):
                simulator.broker.put(bundle)
        is_unconfirmed = chance() < rates.publish_unconfirmed
        if not is_unconfirmed:
            simulator.observer.confirmed(bundle)
        self._later(confirmed, BrokerError("not confirmed") if is_unconfirmed else None)

    def _later(self, confirmed: "asyncio.Future[None]", error: BrokerError | None) -> None:
        def tell() -> None:
            if confirmed.done():
                return
            if error is None:
                confirmed.set_result(None)
            else:
                confirmed.set_exception(error)

        self._simulator.loop.outside_later(self._simulator.delay_s(), tell)

    async def connect(self) -> None:
        """As of `RabbitPublisher`."""

    async def close(self) -> None:
        """As of `RabbitPublisher`."""


class SimProbe:
    """`RabbitLaneProbe` on the broker in memory."""

    def __init__(self, url: str, *, name: str) -> None:
        self._simulator = STRAND.get().process.loop.simulation  # type: ignore[attr-defined]

    async def ready_bundles(self, lane: str) -> int:
        """As of `LaneProbe`."""
        await asyncio.sleep(self._simulator.delay_s())
        if not self._simulator.broker.queues.is_away:
            # A declaration makes the lane again.
            self._simulator.broker.lanes.add(lane)
        found: int = await self._simulator.broker.queues.ready_bundles(lane)
        await asyncio.sleep(self._simulator.delay_s())
        return found

    async def close(self) -> None:
        """As of `RabbitLaneProbe`."""
