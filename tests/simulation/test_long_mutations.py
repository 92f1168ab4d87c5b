"""The simulation can fail where jobs have durable calls: each of these faults is found within few seeds."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from acked.durable.port import Kept
from acked.durable.steps import StepRun
from acked.durable.turns import Turns
from acked_common.background.signal_sweeper import SignalSweeper
from acked_common.model import ledger_rules
from acked_common.model.ledger import InboxFull, JobLedger, LedgerWrite, Opening, PendingSignals, Repeated, SignalPush
from acked_common.model.ledger_rules import written
from acked_common.model.lifecycle import Move, Transition
from acked_common.model.lifecycle_waits import park
from acked_common.outcomes.outcome import Ending, Parked
from acked_common.outcomes.outcome_rules import transition_after
from acked_common.store.ledgers import Written
from acked_common.store.records import Applied, ClaimedJob
from acked_worker.record import recorder
from simulation.fault_plan import KNOBS
from simulation.mutations import first_broken
from simulation.sim_store import ObservedLedgers, ObservedStore
from simulation.simulator import run
from simulation.trace import report

LEASES_LOST: Mapping[str, Any] = {"slow_verbs": ("renew",)}
"""Attempts go on after their lease is over, and do not know that."""


class ParksBlindly(ObservedStore):
    """A park applies although a signal was announced that its attempt has not read."""

    async def apply(self, moves: Sequence[Move]) -> list[Applied]:
        return await super().apply([replace(move, seen=replace(move.seen, signals=None)) for move in moves])


class _ClearsBlindly(ObservedLedgers):
    async def unset_pending(self, job_id: Any, *, in_seq: int) -> None:
        if (ledger := self._ledgers.get(job_id)) is not None and ledger.pending is not None:
            await super().unset_pending(job_id, in_seq=ledger.pending)


class ClearsBlindly(ObservedStore):
    """A sender unsets the mark of signals that others have sent and not announced."""

    ledgers_class = _ClearsBlindly


class _ForgetsNames(ObservedLedgers):
    async def push_signal(self, push: SignalPush, **options: Any) -> PendingSignals | Repeated | InboxFull:
        found = await super().push_signal(push, **options)
        if isinstance(found, PendingSignals):
            self._ledgers[push.id] = replace(self._ledgers[push.id], pending_names=(push.signal.name,))
            return replace(found, names=(push.signal.name,))
        return found


class ForgetsNames(ObservedStore):
    """The mark has the name of the newest signal alone: those of senders that died are not announced."""

    alone: ClassVar = {"slow_verbs": ("announce",)}
    ledgers_class = _ForgetsNames


class _OpensBehind(ObservedLedgers):
    def _owns(self, opening: Opening) -> bool:
        return True


class OpensBehind(ObservedStore):
    """An attempt opens a ledger that a later one has opened, as without `$lt` on the attempt."""

    alone: ClassVar = LEASES_LOST
    ledgers_class = _OpensBehind


class _WritesWithoutFence(ObservedLedgers):
    def _write(self, write: LedgerWrite) -> Written:
        ledger = self._ledgers.get(write.id)
        if ledger is None:
            return super()._write(write)
        found = written(replace(ledger, by=write.entry.by), write)
        if not isinstance(found, JobLedger):
            return found
        self._ledgers[write.id] = replace(found, by=ledger.by)
        return found.entries[write.digest]


class WritesWithoutFence(ObservedStore):
    """An attempt writes into a ledger that a later one has opened."""

    alone: ClassVar = LEASES_LOST
    ledgers_class = _WritesWithoutFence


class _TakesInTwoWrites(ObservedLedgers):
    def _write(self, write: LedgerWrite) -> Written:
        found = super()._write(replace(write, takes=None))
        if write.takes is not None:
            ledger = self._ledgers[write.id]
            left = tuple(signal for signal in ledger.inbox if signal.id != write.takes)
            self._ledgers[write.id] = replace(ledger, inbox=left)
        return found


class TakesInTwoWrites(ObservedStore):
    """A signal is kept by one write, and leaves the inbox by the next one."""

    ledgers_class = _TakesInTwoWrites


@pytest.mark.parametrize(
    ("store_class", "rules"),
    [
        (ParksBlindly, {"stranded", "I1"}),
        (ClearsBlindly, {"stranded", "I1"}),
        (ForgetsNames, {"stranded", "I1"}),
        (OpensBehind, {"fence"}),
        (WritesWithoutFence, {"fence"}),
        (TakesInTwoWrites, {"signals"}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_broken_ledger_is_found(store_class: type[ObservedStore], rules: set[str]) -> None:
    # Where only one fault in a hundred seeds shows it, that fault comes alone and in every seed.
    alone = getattr(store_class, "alone", None)
    without = KNOBS if alone else ()
    result = first_broken(partial(run, store_class=store_class, without=without, rates=alone, is_long=True))
    assert result.violations[0].rule in rules, report(result)


async def _sweeps_nothing(sweeper: SignalSweeper) -> None:
    """Signals whose sender has died are never announced."""


async def _begins_unnoted(step: StepRun, **fields: Any) -> Kept | None:
    """A step that must not run twice keeps nothing when it begins."""
    return None if fields.get("is_open") else await _keep(step, **fields)


_keep = StepRun._keep


def _parks_the_cancelled(
    ending: Ending, job: ClaimedJob, *args: Any, at: datetime, **options: Any
) -> Transition | None:
    """A park wins over a cancel."""
    if isinstance(ending, Parked):
        return replace(park(at=at, waits=ending.waits), unless_cancelling=False)
    return transition_after(ending, job, *args, at=at, **options)


def _keeps_errors(ledger: JobLedger) -> JobLedger:
    """A retry begins a new edition with all entries."""
    return replace(ledger, edition=ledger.edition + 1, progressed_at_failures=0)


@pytest.mark.parametrize(
    ("part", "name", "broken", "rules"),
    [
        (SignalSweeper, "sweep", _sweeps_nothing, {"stranded", "I1"}),
        (StepRun, "_keep", _begins_unnoted, {"once"}),
        (ledger_rules, "retried", _keeps_errors, {"edition", "retry"}),
        (recorder, "transition_after", _parks_the_cancelled, {"cancel", "log"}),
    ],
    ids=["no sweeper", "once", "retry", "cancel"],
)
def test_a_broken_call_is_found(
    part: object, name: str, broken: object, rules: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part, name, broken)
    result = first_broken(partial(run, is_long=True))
    assert result.violations[0].rule in rules, report(result)


def test_a_read_that_ends_no_other_wait_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Turns, "end_waits_for", lambda turns, names: None)
    # Else the hint of the gateway ends that wait.
    rates = {"commands_lost": 1.0, "slow_verbs": ("ledgers.write_entries",)}
    result = first_broken(partial(run, without=KNOBS, rates=rates, is_long=True))
    assert result.violations[0].rule == "stranded", report(result)
