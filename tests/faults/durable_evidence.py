"""What clients, steps and the change stream leave of durable jobs, as plain data. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SentSignal:
    """A signal as its client knows it."""

    job_id: str
    id: str
    sender: int
    number: int
    tries: int
    is_confirmed: bool


@dataclass(slots=True)
class StepRun:
    """One run of a step's function; `mark` is in its result."""

    job_id: str
    step: str
    attempt: int
    mark: str
    begin_at: float
    has_ended: bool = False


@dataclass(frozen=True, slots=True)
class DurableEvidence:
    """What clients, steps and the change stream have left."""

    signals: Sequence[SentSignal] = ()
    runs: Sequence[StepRun] = ()
    ledgers_wrong: Sequence[str] = ()
    wrong: Sequence[str] = ()
    """Breaches that clients have seen."""
    entries: int = 0
    opens: int = 0

    @property
    def ran_again(self) -> int:
        """The number of steps that ran more than once."""
        return sum(number > 1 for number in Counter(run.step for run in self.runs).values())

    @property
    def note(self) -> str:
        """A sentence for the table."""
        sent, steps = sum(signal.tries for signal in self.signals), {run.step for run in self.runs}
        return (
            f"{len(self.signals)} signals sent {sent} times, {self.entries} entries in {self.opens} opens of ledgers, "
            f"{len(steps)} steps, {self.ran_again} of them ran again"
        )


def step_runs(lines: Sequence[Mapping[str, Any]]) -> list[StepRun]:
    """Return the runs from the lines of their file, in the order of their beginnings."""
    found: dict[str, StepRun] = {}
    for line in lines:
        if line["what"] == "begin":
            found[line["mark"]] = StepRun(line["id"], line["step"], line["attempt"], line["mark"], line["at"])
        else:
            found[line["mark"]].has_ended = True
    return list(found.values())
