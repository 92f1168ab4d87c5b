"""What each worker knows of its leases, and what its attempts do all the same: none goes on without one.

A lease may end through no fault of its worker: it was cut off, paused, or its renewals were lost. Then the attempt goes
on until its worker knows. What the worker was told, and when, is seen here on its line to the store.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from acked_common.model.lifecycle import State
from acked_common.store.records import Lease
from simulation.handlers import Effect
from simulation.loop import SimProcess
from simulation.scale import VARIABLES, WORKER_TIMEOUT_S

if TYPE_CHECKING:
    from simulation.simulator import Simulator

LEASE_S, RENEWAL_S = float(VARIABLES["ACKED_LEASE_S"]), float(VARIABLES["ACKED_RENEWAL_S"])
ASKS_WITHIN_S = RENEWAL_S * 1.1 + WORKER_TIMEOUT_S + 0.5
"""Between two renewals: the pause with its jitter, and the longest call."""
STOPS_WITHIN_S = 3.0
"""From what a worker is told to the last step of its handler; a suspect hears it over a slow line."""


class Ownership:
    """The renewals of all workers, and the steps of their handlers."""

    def __init__(self, simulator: "Simulator") -> None:
        self._simulator = simulator
        self._asked_at: dict[tuple[str, UUID], float] = {}
        self._proved_at: dict[str, float] = {}
        """By worker, when the newest renewal that was answered had been sent."""
        self._told: dict[tuple[str, UUID, int], tuple[float, str]] = {}
        """By worker and attempt, when it was told that the attempt must stop, and the rule behind that."""

    def asked(self, process: SimProcess, ids: Sequence[UUID]) -> None:
        """A worker sends a renewal."""
        for job_id in ids:
            self._asked_at[process.name, job_id] = self._now

    def told(self, process: SimProcess, sent_at: float, ids: Sequence[UUID], leases: Mapping[UUID, Lease]) -> None:
        """A worker reads the answer to a renewal, unless it is paused: then it reads it when it goes on."""
        self._proved_at[process.name] = max(sent_at, self._proved_at.get(process.name, 0.0))
        for effect in self._simulator.effects:
            if effect.process.name != process.name or effect.job_id not in ids or effect.begun_at > sent_at:
                continue
            lease = leases.get(effect.job_id)
            attempt = process.name, effect.job_id, effect.attempt
            if lease is None or lease.attempt != effect.attempt:
                self._told.setdefault(attempt, (self._now, "lease"))
            elif lease.cancel_requested:
                self._told.setdefault(attempt, (self._now, "cancel"))

    def taken_back(self, job_id: UUID, attempt: int, worker: str) -> None:
        """The lease of an attempt ran out. Where its worker lives and runs, it has tried to renew it."""
        process = self._worker(worker)
        since = self._now - ASKS_WITHIN_S
        if process is None or process.is_dead or process.ran_on_since > since:
            return
        for effect in self._simulator.effects:
            is_it = effect.job_id == job_id and effect.attempt == attempt and effect.process.name == worker
            if is_it and effect.begun_at < since and self._asked_at.get((worker, job_id), 0.0) < since:
                self._broken(effect, "was taken back, and its worker did not try to renew its lease")

    def begins(self, effect: Effect) -> None:
        """A handler makes its first step. One that runs beside others begins within its lease; a suspect may have
        waited for its process."""
        if not effect.is_alone and not self._owns(effect):
            self._broken(effect, "began without owning its job")

    def ends(self, effect: Effect) -> None:
        """A handler has made its last step."""
        worker = self._worker(effect.process.name)
        if effect.end == "stopped" or worker is None:
            return
        ran_on_since = max(worker.ran_on_since, effect.process.ran_on_since)
        told_at, rule = self._told.get((worker.name, effect.job_id, effect.attempt), (math.inf, ""))
        if ran_on_since < told_at < self._now - STOPS_WITHIN_S:
            text = f"went on for {self._now - told_at:.1f} s after its worker was told that it must stop"
            self._broken(effect, text, rule)
        stood_still = worker.stood_still_s >= LEASE_S and effect.begun_at < worker.ran_on_since
        is_proved = self._proved_at.get(worker.name, 0.0) >= worker.ran_on_since
        if not effect.is_alone and stood_still and not is_proved and not self._owns(effect):
            self._broken(effect, "made a step after a pause before its worker knew what it still owns")

    def _owns(self, effect: Effect) -> bool:
        document = self._simulator.observer.jobs[effect.job_id].document
        return bool(document["state"] == State.RUNNING.value and document["attempt"] == effect.attempt)

    def _worker(self, name: str) -> SimProcess | None:
        return next((node.process for node in self._simulator.nodes if node.process.name == name), None)

    @property
    def _now(self) -> float:
        return self._simulator.loop.time()

    def _broken(self, effect: Effect, text: str, rule: str = "lease") -> None:
        if self._simulator.is_over:
            # All processes are put away: each is let go on to its end.
            return
        self._simulator.broken(rule, f"attempt {effect.attempt} {text}", effect.job_id)
