"""What must hold of jobs with durable calls, when everything has come to rest."""

from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING
from uuid import UUID

from acked.durable.port import Call
from acked_common.model.ledger import JobLedger
from acked_common.model.lifecycle import State
from acked_common.model.lifecycle_waits import waits_from
from acked_gateway.jobs.signals import taken_signal
from simulation.call_rules import StepStart
from simulation.ledger_watch import taken_id
from simulation.long_work import unread

if TYPE_CHECKING:
    from simulation.checks import Watched
    from simulation.simulator import Simulator

BY_ITSELF = frozenset({"ok", "error", "permanent", "parked"})
"""How a handler ends that nobody has stopped or killed: all that its steps had done is kept."""


def check_long_work(simulator: "Simulator") -> None:
    """Each of these jobs, its steps, its signals and its ledger."""
    for (job_id, text), starts in simulator.long.calls.starts.items():
        _check_step(simulator, job_id, text, starts)
    for job_id, watched in simulator.observer.jobs.items():
        if watched.number in simulator.long.stories:
            _check_job(simulator, job_id, watched)


def _check_job(simulator: "Simulator", job_id: UUID, watched: "Watched") -> None:
    document = watched.document
    ledger = simulator.long.watch.ledgers.get(job_id)
    waits = waits_from(document.get("waits"))
    if waits is not None and (found := unread(ledger, waits.signals)):
        simulator.broken("stranded", f"waits for {waits.signals}, and {found} are unread", job_id)
    if ledger is None:
        _check_confirmed(simulator, job_id, Counter())
        return
    if ledger.pending is not None:
        simulator.broken("stranded", f"signals up to {ledger.pending} are still not announced", job_id)
    taken = Counter(found for entry in ledger.entries.values() if (found := taken_id(entry)) is not None)
    _check_confirmed(simulator, job_id, taken + Counter(signal.id for signal in ledger.inbox))
    if document["run"] == 1:
        # A retry drops waits that have timed out: they take signals behind those of later waits.
        _check_order(simulator, job_id, ledger)
    has_end = job_id in simulator.store.ledgers().ends
    if (
        has_end
        and not State(document["state"]).is_terminal
        and ledger.by == _nonce(simulator, job_id, document["attempt"])
    ):
        simulator.broken("ledger end", f"is {document['state']}, and its ledger has an end", job_id)
    if State(document["state"]) is State.SUCCEEDED and document["reason"] == "completed":
        parts = len(simulator.long.stories[watched.number].parts)
        open_ones = [entry.name for entry in ledger.entries.values() if entry.is_open and not _is_dropped(entry.call)]
        if open_ones and parts:
            simulator.broken("kept", f"succeeded, and {open_ones} have no outcome", job_id)


def _is_dropped(call: str) -> bool:
    """Whether a call may stay open: a wait in a gather that has failed, and a step whose outcome is unknown."""
    return call in (Call.WAIT, Call.STEP)


def _nonce(simulator: "Simulator", job_id: UUID, attempt: int) -> str | None:
    return simulator.long.watch.nonces.get((job_id, attempt))


def _check_confirmed(simulator: "Simulator", job_id: UUID, found: "Counter[str]") -> None:
    """Each signal whose sender got a 2xx was taken once, or is unread; no other signal was made up."""
    senders = simulator.long.senders
    if lost := sorted(senders.confirmed[job_id] - found.keys()):
        simulator.broken("signals", f"{lost} were confirmed, and are neither taken nor unread", job_id)
    if twice := sorted(one for one, count in found.items() if count > 1):
        simulator.broken("signals", f"{twice} were taken twice, or are taken and unread", job_id)
    if unknown := sorted(found.keys() - senders.sent[job_id]):
        simulator.broken("signals", f"nobody has sent {unknown}", job_id)


def _check_order(simulator: "Simulator", job_id: UUID, ledger: JobLedger) -> None:
    """Waits for one name that stand one behind the other have got its signals in the order in which they came."""
    by_name: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for entry in ledger.entries.values():
        if entry.call == Call.WAIT and (signal := taken_signal(entry.value)) is not None:
            by_name[entry.name].append((int(entry.key or 0), signal.seq))
    gathered = simulator.long.stories[simulator.observer.jobs[job_id].number].gathered_waits()
    for name, taken in by_name.items():
        numbers = [seq for key, seq in sorted(taken) if f"{name}[{key}]" not in gathered]
        if numbers != sorted(numbers):
            simulator.broken("signals", f"{name} was taken in the order {numbers}", job_id)


def _check_step(simulator: "Simulator", job_id: UUID, text: str, starts: list[StepStart]) -> None:
    """A step runs once, and once more for each attempt that was stopped or killed inside it, or in which it failed."""
    for start, following in pairwise(starts):
        if start.end in ("ok", "?") and start.effect.end in BY_ITSELF and start.run == following.run:
            why = f"ended as {start.end} in attempt {start.effect.attempt}, which ended as {start.effect.end}"
            simulator.broken("steps", f"{start.token} {why}, and {text} ran again", job_id)
        if start.end == "permanent" and start.effect.end in BY_ITSELF and start.run == following.run:
            simulator.broken("steps", f"{start.token} has failed for good, and {text} ran again", job_id)
        if simulator.long.stories[simulator.observer.jobs[job_id].number].is_once(text) and start.end in ("ok", "?"):
            simulator.broken("once", f"{start.token} has perhaps had its effect, and {text} ran again", job_id)
