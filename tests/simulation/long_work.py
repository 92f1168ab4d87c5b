"""Jobs with durable calls in a simulation: their stories, when they rest, and what strikes them."""

from random import Random
from typing import TYPE_CHECKING
from uuid import UUID

from acked_common.model.ledger import JobLedger
from acked_common.model.lifecycle import State
from acked_common.model.lifecycle_waits import waits_from
from simulation.call_rules import CallRules
from simulation.checks import Document
from simulation.handlers import Effect
from simulation.ledger_watch import LedgerWatch
from simulation.loop import SimProcess
from simulation.nemesis import strike_at
from simulation.senders import Senders
from simulation.stories import Place, Story, draw_story

if TYPE_CHECKING:
    from simulation.simulator import Simulator

MOST_STRIKES = 6


class LongWork:
    """All jobs with durable calls of one simulation."""

    def __init__(self, simulator: "Simulator", rng: Random) -> None:
        self._simulator = simulator
        self._rng = rng
        self.stories: dict[int, Story] = {}
        """By the number of the submission."""
        self.watch = LedgerWatch(simulator)
        self.senders = Senders(simulator, self)
        self.calls = CallRules(simulator, self.watch)
        self._strikes = 0

    def draw(self, number: int) -> None:
        """Draw the story of a submission."""
        self.stories[number] = draw_story(self._rng, number)

    # From handlers.

    def reached(self, effect: Effect, place: Place) -> None:
        """A handler is somewhere in its story."""
        self.senders.reached(effect.number, effect.job_id, place)
        self.moment(effect.process)

    def crashes(self, effect: Effect) -> bool:
        """Whether the attempt ends its process in its first step."""
        return effect.attempt <= self._simulator.clients.scripts[effect.number].crashes

    def crash(self, effect: Effect) -> None:
        """The attempt ends its process."""
        self._simulator.crash(effect.process, effect.job_id, effect.attempt)

    def moment(self, process: SimProcess) -> None:
        """Something happens behind which a process is killed or paused now and then."""
        simulator = self._simulator
        if simulator.rng.random() < simulator.rates.struck_at_calls and self._strikes < MOST_STRIKES:
            self._strikes += strike_at(simulator, process)

    # What is so now.

    def parts_of(self, number: int) -> int:
        """How many parts the story of a job has; 0 for a job without one."""
        return len(self.stories[number].parts) if number in self.stories else 0

    def is_quiet(self, live: int) -> bool:
        """Whether none of the live jobs will move, and no signal is still to be announced."""
        if not live:
            resting = 0
        elif not self.stories:
            return False
        else:
            resting = sum(self.rests(watched.document) for watched in self._simulator.observer.jobs.values())
        return resting == live and all(ledger.pending is None for ledger in self.watch.ledgers.values())

    def rests(self, document: Document) -> bool:
        """Whether a job is parked until a signal comes that nobody sends."""
        waits = waits_from(document.get("waits"))
        if document["state"] != State.WAITING.value or waits is None or waits.until_at is not None:
            return False
        ledger = self.watch.ledgers.get(document["_id"])
        return self.senders.is_left(document) and not unread(ledger, waits.signals)

    def parked(self, job_id: UUID) -> None:
        """A job has parked."""
        self.check_stranded(job_id)
        if self._simulator.acting is not None:
            self.moment(self._simulator.acting)

    def check_stranded(self, job_id: UUID) -> None:
        """A job never waits for a signal that is unread, unless that is marked: somebody must still announce it."""
        ledger, watched = self.watch.ledgers.get(job_id), self._simulator.observer.jobs.get(job_id)
        if ledger is None or watched is None or ledger.pending is not None:
            return
        waits = waits_from(watched.document.get("waits"))
        if waits is not None and (found := unread(ledger, waits.signals)):
            self._simulator.broken("stranded", f"waits for {waits.signals}; {found} are unread, and not marked", job_id)


def unread(ledger: JobLedger | None, names: tuple[str, ...]) -> list[str]:
    """The ids of the unread signals with one of the names."""
    return [] if ledger is None else [signal.id for signal in ledger.inbox if signal.name in names]
