"""What handlers do and see in their durable calls: a step that is kept never runs again, and what is kept stays."""

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from acked import Context
from acked.durable.identity import digest_of
from acked.durable.port import Call
from acked_common.model.ledger import LedgerEntry
from simulation.handlers import Effect
from simulation.ledger_watch import LedgerWatch, taken_id
from simulation.scale import CLOCK_MARGIN

if TYPE_CHECKING:
    from simulation.simulator import Simulator


@dataclass(slots=True)
class StepStart:
    """One start of a step's function."""

    number: int
    """Its place among all starts of this step, from 0."""
    effect: Effect
    run: int
    text: str
    end: str = "?"
    """How the function ended; `?` where it did not."""

    @property
    def token(self) -> str:
        """The result of this very start."""
        return f"{self.text}, start {self.number}"


class CallRules:
    """The durable calls of all handlers of one simulation."""

    def __init__(self, simulator: "Simulator", watch: LedgerWatch) -> None:
        self._simulator = simulator
        self._watch = watch
        self.starts: dict[tuple[UUID, str], list[StepStart]] = defaultdict(list)
        self._seen: dict[tuple[UUID, int, str], Any] = {}
        """By job, run and call, what the handler got."""

    def starts_step(self, effect: Effect, ctx: Context, text: str) -> StepStart:
        """The function of a step starts. None starts whose outcome its attempt has read, or has kept."""
        starts = self.starts[effect.job_id, text]
        start = StepStart(len(starts), effect, ctx.run, text)
        starts.append(start)
        self._simulator.note(effect.process.name, f"attempt {effect.attempt}: {start.token}", effect.job_id)
        if self._opened_by(effect) and (entry := self.entry(effect.job_id, text)) is not None and not entry.is_open:
            self._broken("steps", f"attempt {effect.attempt} runs {text} again, which is kept", effect)
        return start

    def failed(self, effect: Effect, run: int, error: Exception) -> None:
        """A durable call raised an error that replays raise again. A step has failed in this very run."""
        text = getattr(error, "step", None)
        if type(error).__name__ == "StepFailed" and not any(
            start.run == run and start.end in ("error", "permanent") for start in self.starts[effect.job_id, str(text)]
        ):
            self._broken(
                "retry", f"attempt {effect.attempt} of run {run} has the failure of an earlier run: {error}", effect
            )

    def returned(self, effect: Effect, run: int, text: str, value: Any) -> None:
        """A durable call returned or raised this. That is kept, and it is the same in all attempts of a run."""
        self.observed(effect, run, text, value)
        entry = self.entry(effect.job_id, text)
        ledger = self._watch.ledgers.get(effect.job_id)
        if ledger is None or ledger.run != run:
            # The attempt has lost its job, and an operator has retried it.
            return
        if entry is None or (entry.is_open and not (isinstance(value, list) and value[0] == "StepUncertain")):
            self._broken("kept", f"attempt {effect.attempt} got {value!r} of {text}, which is not kept", effect)
        elif not _is_outcome(entry, value):
            self._broken("kept", f"attempt {effect.attempt} got {value!r} of {text}, and {entry} is kept", effect)
        elif entry.call == Call.SLEEP and self._simulator.time() < (entry.due_at or entry.at) - CLOCK_MARGIN:
            self._broken("time", f"attempt {effect.attempt} has slept until {entry.due_at} too early", effect)

    def observed(self, effect: Effect, run: int, text: str, value: Any) -> None:
        """The handler goes on with this value, as each attempt of the run does."""
        first = self._seen.setdefault((effect.job_id, run, text), value)
        if first != value:
            self._broken("kept", f"attempt {effect.attempt} got {value!r} of {text}, an earlier one {first!r}", effect)

    def entry(self, job_id: UUID, text: str) -> LedgerEntry | None:
        """What is kept of a call."""
        ledger = self._watch.ledgers.get(job_id)
        return None if ledger is None else ledger.entries.get(digest_of(text))

    def _opened_by(self, effect: Effect) -> bool:
        ledger = self._watch.ledgers.get(effect.job_id)
        return ledger is not None and ledger.by == self._watch.nonces.get((effect.job_id, effect.attempt))

    def _broken(self, rule: str, text: str, effect: Effect) -> None:
        if not self._simulator.is_over:
            self._simulator.broken(rule, text, effect.job_id)


def _is_outcome(entry: LedgerEntry, value: Any) -> bool:
    """Whether a handler gets this value of an entry."""
    if isinstance(value, list) and value and value[0] in ("StepFailed", "WaitTimedOut", "StepUncertain"):
        name = "StepFailed" if entry.error is not None else "WaitTimedOut" if entry.timed_out else "StepUncertain"
        return bool(value[0] == name and (name != "StepUncertain" or entry.is_open))
    match entry.call:
        case Call.WAIT:
            return value is not None and taken_id(entry) == value
        case Call.FIRST:
            return bool(value[1] == taken_id(entry) and value[0] == msgspec.json.decode(entry.value or b"{}")["branch"])
        case Call.SLEEP:
            return value is None
        case _:
            return bool(msgspec.json.decode(entry.value or b"null") == value)
