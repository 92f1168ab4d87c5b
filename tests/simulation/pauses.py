"""Pauses of a kind in a simulation: who pauses and resumes it, and what must hold while it is paused."""

import asyncio
import math
from typing import TYPE_CHECKING, Any
from uuid import UUID

from acked_common.model.audit import AuditAction
from acked_common.model.principal import LOCAL, LOCAL_OPERATOR
from acked_common.store.errors import StoreError
from acked_gateway.kinds.pausing import Pausing
from simulation.clients import Clients, ConnectionLost
from simulation.handlers import Effect
from simulation.loop import SimProcess
from simulation.scale import CLOCK_MARGIN_S, PAUSES_EVERY_S

if TYPE_CHECKING:
    from simulation.simulator import Simulator

KIND = "single"
"""The kind that has its lane to itself."""
STOPS_WITHIN_S = PAUSES_EVERY_S * 1.1 + 0.5
"""From the pause to the last start, where nothing goes wrong: a look with its jitter, and the messages."""


class PauseRules:
    """When the kind was paused, and what workers do all the same."""

    def __init__(self, simulator: "Simulator") -> None:
        self._simulator = simulator
        self._spans: list[list[float]] = []
        """Begin and end of each pause, in the true time; the end is infinite while it lasts."""
        self._claims: dict[str, bool] = {}
        """By nonce, whether the worker knew that the kind is paused when it first asked."""

    def switched(self, kind: str, *, is_paused: bool) -> None:
        """The store has paused or resumed a kind."""
        now = self._simulator.loop.time()
        self._simulator.note("store", f"{kind} is {'paused' if is_paused else 'resumed'}")
        act = AuditAction.PAUSE if is_paused else AuditAction.RESUME
        noted = self._simulator.store.audit().entries
        if not any(one.action == act and one.target == {"kind": kind} for one in noted):
            self._simulator.broken("audit", f"{act} of {kind} was not noted before")
        if is_paused:
            self._spans.append([now, math.inf])
        else:
            self._spans[-1][1] = now

    def asked(self, process: SimProcess, nonce: str) -> None:
        """A worker asks to claim jobs, for the first time or again."""
        if nonce not in self._claims:
            node = next(node for node in self._simulator.nodes if node.process is process)
            self._claims[nonce] = KIND in node.worker._pauses.paused  # type: ignore[attr-defined]

    def claimed(self, job_id: UUID, kind: str, nonce: str) -> None:
        """A claim took effect."""
        if kind == KIND and self._claims[nonce]:
            self._simulator.broken("pause", "was claimed by a worker that knew its kind is paused", job_id)

    def begins(self, effect: Effect, kind: str) -> None:
        """A handler makes its first step."""
        now = self._simulator.loop.time()
        since = next((begin for begin, end in self._spans if begin <= now < end), now)
        if kind == KIND and self._simulator.plan.is_calm and now - since > STOPS_WITHIN_S:
            text = f"attempt {effect.attempt} began {now - since:.1f} s after its kind was paused"
            self._simulator.broken("pause", text, effect.job_id)

    def expired(self, job_id: UUID, kind: str, queued_at: float, lasts_s: float) -> None:
        """A job expired that was queued at this time, to wait for so long."""
        now = self._simulator.loop.time()
        spans = self._spans if kind == KIND else []
        paused_s = sum(max(0.0, min(now, end) - max(queued_at, begin)) for begin, end in spans)
        # A clock may be off by this much for each instant that it returned.
        if now - queued_at - paused_s < lasts_s - CLOCK_MARGIN_S * (1 + 2 * len(spans)):
            text = f"expired after {now - queued_at:.1f} s with {lasts_s:.1f} s to wait, paused for {paused_s:.1f} s"
            self._simulator.broken("time", text, job_id)

    def was_paused(self, kind: str, since: float) -> bool:
        """Whether the kind was paused at any time since then."""
        return kind == KIND and any(end > since for _, end in self._spans)


def draw_pauses(clients: Clients, simulator: "Simulator", lasts_s: float) -> None:
    """Draw who pauses the kind and when, in some of the seeds."""
    rng = simulator.rng
    for _ in range(rng.choice((0, 0, 1, 1, 3))):
        clients.spawn(_operator(clients, simulator, rng.uniform(0.1, lasts_s), rng.choice((0.1, 2.0, 8.0, 40.0))))


async def _operator(clients: Clients, simulator: "Simulator", at_s: float, pauses_s: float) -> None:
    """Pauses the kind for about so long. Whoever pauses sees to it that it is resumed, whatever came late."""
    await asyncio.sleep(at_s)
    await _insist(clients, simulator, is_pause=True)
    await asyncio.sleep(pauses_s * simulator.rng.uniform(0.5, 1.5))
    for _ in range(2):
        await _insist(clients, simulator, is_pause=False)
        # A pause that was sent before may come late.
        await asyncio.sleep(5.0)
    clients.done_asking()


async def _insist(clients: Clients, simulator: "Simulator", *, is_pause: bool) -> None:
    """Ask until a gateway confirms."""
    while True:
        if gateways := simulator.up("gateway"):
            gateway = simulator.rng.choice(gateways)

            def call(pausing: Pausing = gateway.pausing) -> Any:
                if is_pause:
                    return pausing.pause(KIND, None, operator=LOCAL_OPERATOR, reader=LOCAL)
                return pausing.resume(KIND, operator=LOCAL_OPERATOR, reader=LOCAL)

            try:
                await clients.ask(gateway, call)
                return
            except (StoreError, ConnectionLost):
                pass
        await asyncio.sleep(1.0)
