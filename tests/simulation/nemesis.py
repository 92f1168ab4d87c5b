"""What each kind of storm does to the processes and servers of a simulation."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from simulation.fault_plan import Storm
from simulation.processes import COMMON, Gateway, Intake, Node, WorkerNode

if TYPE_CHECKING:
    from simulation.simulator import World

MAKERS = {"intake": Intake, "gateway": Gateway, "worker": WorkerNode}


def strike(world: "World", storm: Storm) -> None:
    """Brings one storm about, if there is something to strike."""
    subject, _, what = storm.kind.partition(" ")
    if subject in MAKERS:
        nodes = [node for node in world.alive(subject) if not node.process.is_paused and not node.is_leaving]
        if nodes:
            # Most of all it strikes where it hurts.
            busy = [node for node in nodes if sum(node.held().values())] or nodes
            _AT_NODES[what](world, world.rng.choice(busy), storm)
    else:
        _AT_SERVERS[storm.kind](world, storm)


def _kill(world: "World", node: Node, storm: Storm) -> None:
    def now() -> None:
        world.kill(node)
        # A supervisor starts another one after a moment, or nobody does until all is calm.
        if world.rng.random() < 0.7:
            world.loop.world_later(world.rng.uniform(0.2, 3), world.start, MAKERS[node.kind], node.kind)

    node.process.after_steps(storm.steps, now)


def _pause(world: "World", node: Node, storm: Storm) -> None:
    lasts_s = storm.strength * COMMON.times.lease_s * 2.5

    def now() -> None:
        world.note(node.process.name, f"paused for {lasts_s:.1f} s")
        node.process.pause()
        world.loop.world_later(lasts_s, resume)
        if lasts_s > 6:
            # No heartbeats: the broker gives up on it.
            world.loop.world_later(lasts_s * 0.6, world.drop_channels, node.process)

    def resume() -> None:
        if node.process.is_paused and not node.process.is_dead:
            world.note(node.process.name, "goes on")
            node.process.resume()

    node.process.after_steps(storm.steps, now)


def _stop(world: "World", node: Node, storm: Storm) -> None:
    world.note(node.process.name, "told to stop")
    node.is_leaving = True
    node.stop()
    world.start(MAKERS[node.kind], node.kind)


def _cut_off(world: "World", storm: Storm) -> None:
    nodes = [node for node in world.nodes if not node.process.is_dead]
    nodes = [node for node in nodes if sum(node.held().values())] or nodes
    if nodes:
        node = world.rng.choice(nodes)
        lasts_s = storm.strength * COMMON.times.lease_s * 2
        world.note(node.process.name, f"cut off from the store for {lasts_s:.1f} s")
        world.cut_off.add(node.process)
        world.loop.world_later(lasts_s, world.cut_off.discard, node.process)


def _store_away(world: "World", storm: Storm) -> None:
    def back() -> None:
        world.store_is_away = False

    lasts_s = storm.strength**2 * COMMON.times.lease_s * 2
    world.note("store", f"away for {lasts_s:.1f} s")
    world.store_is_away = True
    world.loop.world_later(lasts_s, back)


def _broker_away(world: "World", storm: Storm) -> None:
    def back() -> None:
        world.broker.queues.is_away = False
        world.broker.pump_all()

    lasts_s = storm.strength**2 * 10
    world.note("broker", f"away for {lasts_s:.1f} s")
    world.broker.queues.is_away = True
    world.loop.world_later(lasts_s, back)


def _broker_restarted(world: "World", storm: Storm) -> None:
    world.note("broker", "restarts")
    world.broker.close_channels()
    _broker_away(world, storm)


def _broker_wiped(world: "World", storm: Storm) -> None:
    world.note("broker", "loses everything")
    for lane in sorted(world.broker.lanes):
        world.broker.lose_lane(lane, with_unacked=True)
    _broker_restarted(world, storm)


def _broker_swallows(world: "World", storm: Storm) -> None:
    def no_more() -> None:
        world.broker.swallows = False

    lasts_s = storm.strength * 20
    world.note("broker", f"loses what it confirms for {lasts_s:.1f} s")
    world.broker.swallows = True
    world.loop.world_later(lasts_s, no_more)


def _lane_lost(*, with_unacked: bool) -> "Callable[[World, Storm], None]":
    def strikes(world: "World", _: Storm) -> None:
        if world.broker.lanes:
            lane = world.rng.choice(sorted(world.broker.lanes))
            world.note("broker", f"lane {lane} {'deleted' if with_unacked else 'purged'}")
            world.broker.lose_lane(lane, with_unacked=with_unacked)

    return strikes


def _channel_dropped(world: "World", _: Storm) -> None:
    if world.broker.channels:
        channel = world.rng.choice(world.broker.channels)
        world.note("broker", f"drops a channel of lane {channel.lane}")
        channel.close()


_AT_NODES: dict[str, Callable[["World", Node, Storm], None]] = {
    "killed": _kill,
    "paused": _pause,
    "drained": _stop,
    "stopped": _stop,
}
_AT_SERVERS: dict[str, Callable[["World", Storm], None]] = {
    "process cut off from the store": _cut_off,
    "store away": _store_away,
    "broker away": _broker_away,
    "broker restarted": _broker_restarted,
    "broker wiped": _broker_wiped,
    "broker swallows": _broker_swallows,
    "lane purged": _lane_lost(with_unacked=False),
    "lane deleted": _lane_lost(with_unacked=True),
    "channel dropped": _channel_dropped,
}
