"""What each kind of incident does to the processes and servers of a simulation."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from simulation.fault_plan import Incident
from simulation.loop import SimProcess
from simulation.processes import COMMON, Gateway, Intake, Node, WorkerNode

if TYPE_CHECKING:
    from simulation.simulator import Simulator

MAKERS = {"intake": Intake, "gateway": Gateway, "worker": WorkerNode}


def strike(simulator: "Simulator", incident: Incident) -> None:
    """Brings one incident about, if there is something to strike."""
    subject, _, what = incident.kind.partition(" ")
    if subject in MAKERS:
        nodes = [node for node in simulator.alive(subject) if not node.process.is_paused and not node.is_leaving]
        if nodes:
            # Most of all it strikes where it hurts.
            busy = [node for node in nodes if sum(node.held().values())] or nodes
            _AT_NODES[what](simulator, simulator.rng.choice(busy), incident)
    else:
        _AT_SERVERS[incident.kind](simulator, incident)


def strike_at(simulator: "Simulator", process: SimProcess) -> bool:
    """Kill or pause a process in one of its next few steps; False where that can't be."""
    node = next((one for one in simulator.nodes if one.process is process), None)
    if node is None or process.is_paused or process.is_dead or process.fuse or node.is_leaving:
        return False
    rng = simulator.rng
    what = rng.choice(("killed", "killed", "paused"))
    _AT_NODES[what](simulator, node, Incident(f"{node.kind} {what}", 0.0, rng.random(), rng.randint(1, 12)))
    return True


def _kill(simulator: "Simulator", node: Node, incident: Incident) -> None:
    def now() -> None:
        simulator.kill(node)
        # A supervisor starts another one after a moment, or nobody does until all is calm.
        if simulator.rng.random() < 0.7:
            simulator.loop.outside_later(simulator.rng.uniform(0.2, 3), simulator.start, MAKERS[node.kind], node.kind)

    node.process.after_steps(incident.steps, now)


def _pause(simulator: "Simulator", node: Node, incident: Incident) -> None:
    lasts_s = incident.strength * COMMON.times.lease_s * 2.5

    def now() -> None:
        simulator.note(node.process.name, f"paused for {lasts_s:.1f} s")
        node.process.pause()
        simulator.loop.outside_later(lasts_s, resume)
        if lasts_s > 6:
            # No heartbeats: the broker gives up on it.
            simulator.loop.outside_later(lasts_s * 0.6, simulator.drop_channels, node.process)

    def resume() -> None:
        if node.process.is_paused and not node.process.is_dead:
            simulator.note(node.process.name, "goes on")
            node.process.resume()

    node.process.after_steps(incident.steps, now)


def _stop(simulator: "Simulator", node: Node, incident: Incident) -> None:
    simulator.note(node.process.name, "told to stop")
    node.is_leaving = True
    node.stop()
    simulator.start(MAKERS[node.kind], node.kind)


def _cut_off(simulator: "Simulator", incident: Incident) -> None:
    nodes = [node for node in simulator.nodes if not node.process.is_dead]
    nodes = [node for node in nodes if sum(node.held().values())] or nodes
    if nodes:
        node = simulator.rng.choice(nodes)
        lasts_s = incident.strength * COMMON.times.lease_s * 2
        simulator.note(node.process.name, f"cut off from the store for {lasts_s:.1f} s")
        simulator.cut_off.add(node.process)
        simulator.loop.outside_later(lasts_s, simulator.cut_off.discard, node.process)


def _store_away(simulator: "Simulator", incident: Incident) -> None:
    def back() -> None:
        simulator.store_is_away = False

    lasts_s = incident.strength**2 * COMMON.times.lease_s * 2
    simulator.note("store", f"away for {lasts_s:.1f} s")
    simulator.store_is_away = True
    simulator.loop.outside_later(lasts_s, back)


def _broker_away(simulator: "Simulator", incident: Incident) -> None:
    def back() -> None:
        simulator.broker.queues.is_away = False
        simulator.broker.pump_all()

    lasts_s = incident.strength**2 * 10
    simulator.note("broker", f"away for {lasts_s:.1f} s")
    simulator.broker.queues.is_away = True
    simulator.loop.outside_later(lasts_s, back)


def _broker_restarted(simulator: "Simulator", incident: Incident) -> None:
    simulator.note("broker", "restarts")
    simulator.broker.close_channels()
    _broker_away(simulator, incident)


def _broker_wiped(simulator: "Simulator", incident: Incident) -> None:
    simulator.note("broker", "loses everything")
    for lane in sorted(simulator.broker.lanes):
        simulator.broker.lose_lane(lane, with_unacked=True)
    _broker_restarted(simulator, incident)


def _broker_swallows(simulator: "Simulator", incident: Incident) -> None:
    def no_more() -> None:
        simulator.broker.swallows = False

    lasts_s = incident.strength * 20
    simulator.note("broker", f"loses what it confirms for {lasts_s:.1f} s")
    simulator.broker.swallows = True
    simulator.loop.outside_later(lasts_s, no_more)


def _lane_lost(*, with_unacked: bool) -> "Callable[[Simulator, Incident], None]":
    def strikes(simulator: "Simulator", _: Incident) -> None:
        if simulator.broker.lanes:
            lane = simulator.rng.choice(sorted(simulator.broker.lanes))
            simulator.note("broker", f"lane {lane} {'deleted' if with_unacked else 'purged'}")
            simulator.broker.lose_lane(lane, with_unacked=with_unacked)

    return strikes


def _channel_dropped(simulator: "Simulator", _: Incident) -> None:
    if simulator.broker.channels:
        channel = simulator.rng.choice(simulator.broker.channels)
        simulator.note("broker", f"drops a channel of {channel.process.name}")
        channel.break_down()


_AT_NODES: dict[str, Callable[["Simulator", Node, Incident], None]] = {
    "killed": _kill,
    "paused": _pause,
    "drained": _stop,
    "stopped": _stop,
}
_AT_SERVERS: dict[str, Callable[["Simulator", Incident], None]] = {
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
