"""Clients that send signals, before, during and after the waits of a job, some again; and those that send the last
ones once all faults are over."""

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any
from uuid import UUID

from acked_common.http.problems import ProblemError
from acked_common.model.lifecycle_waits import waits_from
from acked_common.model.principal import LOCAL
from acked_common.store.errors import StoreError
from acked_gateway.jobs.signals import SignalRequest
from simulation.clients import ConnectionLost
from simulation.stories import Place, SignalPlan

if TYPE_CHECKING:
    from simulation.long_work import LongWork
    from simulation.simulator import Simulator

LAST_ONES_EVERY_S = 2.0


class Senders:
    """All that send signals."""

    def __init__(self, simulator: "Simulator", world: "LongWork") -> None:
        self._simulator = simulator
        self._world = world
        self._begun: set[str] = set()
        """The plans that are under way, by the id of their signal."""
        self.sent: dict[UUID, set[str]] = defaultdict(set)
        """By job, the ids of all signals that were sent."""
        self.confirmed: dict[UUID, set[str]] = defaultdict(set)
        """By job, the ids of the signals whose sender got a 2xx."""
        self._cancelled: set[int] = set()
        self._last = 0

    def reached(self, number: int, job_id: UUID, place: Place | None) -> None:
        """A handler is somewhere in its story; None: its client knows the job's id."""
        story = self._world.stories[number]
        if place is not None and place == story.cancelled_at and number not in self._cancelled:
            self._cancelled.add(number)
            self._simulator.clients.spawn(self._simulator.clients.cancel(job_id, self._simulator.rng.uniform(0, 0.05)))
        for plan in story.signals:
            if plan.place == place and plan.id not in self._begun:
                self._begun.add(plan.id)
                self._simulator.clients.spawn(self._send_all(job_id, plan))

    def is_left(self, document: Any) -> bool:
        """Whether nobody sends this parked job what it waits for."""
        return self._world.stories[self._simulator.observer.jobs[document["_id"]].number].is_left

    async def send_last_ones(self) -> None:
        """Once all is calm, send each parked job what it waits for, unless it is left."""
        while True:
            await asyncio.sleep(LAST_ONES_EVERY_S)
            sending = []
            for job_id, watched in self._simulator.observer.jobs.items():
                waits = waits_from(watched.document.get("waits"))
                if waits is not None and waits.until_at is None and not self.is_left(watched.document):
                    self._last += 1
                    name = self._simulator.rng.choice(waits.signals)
                    sending.append(self._send(job_id, f"last-{self._last}", name))
            await asyncio.gather(*sending)

    async def _send_all(self, job_id: UUID, plan: SignalPlan) -> None:
        await asyncio.sleep(plan.delay_s)
        sending = [self._send(job_id, plan.id, plan.name)]
        sending += [self._send(job_id, plan.id, plan.name, in_s) for in_s in plan.copies_s]
        await asyncio.gather(*sending)
        self._simulator.clients.done_asking()

    async def _send(self, job_id: UUID, signal_id: str, name: str, in_s: float = 0.0) -> None:
        await asyncio.sleep(in_s)
        simulator = self._simulator
        if not (gateways := simulator.up("gateway")):
            return
        gateway = simulator.rng.choice(gateways)
        self.sent[job_id].add(signal_id)
        request = SignalRequest(name, b'"%s"' % signal_id.encode(), signal_id)
        try:
            await simulator.clients.ask(gateway, lambda: gateway.signals.send(str(job_id), request, sender=LOCAL))
            answer = "confirmed"
            self.confirmed[job_id].add(signal_id)
        except ProblemError as error:
            answer = error.problem.name
        except (StoreError, ConnectionLost):
            answer = "unknown"
        simulator.note("client", f"signal {signal_id}: {answer}", job_id)
