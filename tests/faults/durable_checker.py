"""The checker's rules of durable jobs. Pure.

I15: a signal that was confirmed is in the result of its job once, in the order of its client. I16: a step runs once
more only behind an attempt that was lost, never behind its record, and the result is that of the recorded run. I17: no
change of a ledger breaks a rule of `ledger_changes`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from acked_common.model.lifecycle import Reason, State
from faults.durable_evidence import SentSignal, StepRun
from faults.evidence import Evidence, Kept

LOST = frozenset(reason.value for reason in (Reason.LEASE_EXPIRED, Reason.DRAINED, Reason.CRASHED))
"""How an attempt ends whose work may not be recorded."""


def durable_breaches(evidence: Evidence) -> Iterator[str]:
    """Yield all breaches as texts that begin with the name of the invariant."""
    durable, jobs = evidence.durable, evidence.jobs
    if durable is None:
        return
    yield from durable.wrong
    succeeded = {job.id: job for job in jobs.values() if job.state == State.SUCCEEDED.value and _is_durable(job)}
    yield from _signals(durable.signals, succeeded)
    yield from _steps(durable.runs, succeeded)
    for text in durable.ledgers_wrong:
        yield f"I17 {text}"


def _is_durable(job: Kept) -> bool:
    return isinstance(job.result, dict) and "signals" in job.result


def _signals(signals: Sequence[SentSignal], jobs: Mapping[str, Kept]) -> Iterator[str]:
    sent: defaultdict[str, list[SentSignal]] = defaultdict(list)
    for signal in signals:
        sent[signal.job_id].append(signal)
    for job in jobs.values():
        taken = [one[0] for one in job.result["signals"]]
        if doubled := [one for one, number in Counter(taken).items() if number > 1]:
            yield f"I15 {job.id} has taken {doubled} more than once"
        if lost := [one.id for one in sent[job.id] if one.is_confirmed and one.id not in taken]:
            yield f"I15 {job.id} has not taken {lost}, which were confirmed"
        known = {one.id: one for one in sent[job.id]}
        if unknown := [one for one in taken if one not in known]:
            yield f"I15 {job.id} has taken {unknown}, which were never sent"
            continue
        for earlier, later in pairwise(one[2] for one in job.result["signals"]):
            if earlier >= later:
                yield f"I15 {job.id} has taken signal {later} behind signal {earlier}"
        for sender in {known[one].sender for one in taken}:
            numbers = [known[one].number for one in taken if known[one].sender == sender]
            if numbers != sorted(numbers):
                yield f"I15 {job.id} has taken the signals of client {sender} in the order {numbers}"


def _steps(runs: Sequence[StepRun], jobs: Mapping[str, Kept]) -> Iterator[str]:
    by_step: defaultdict[str, defaultdict[str, list[StepRun]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        by_step[run.job_id][run.step].append(run)
    for job in jobs.values():
        recorded = {step["step"]: step for step in job.result["steps"]}
        for name in sorted(recorded.keys() - by_step[job.id].keys()):
            yield f"I16 {name} has a result and never ran"
        lost = {entry.attempt for entry in job.entries if entry.reason in LOST}
        for name, found in by_step[job.id].items():
            yield from _runs(name, found, lost)
            kept = next((run for run in found if run.mark == recorded.get(name, {}).get("mark")), None)
            if kept is None or not kept.has_ended:
                yield f"I16 {name} has the result of no run that has ended"
            elif any(run.attempt > kept.attempt for run in found):
                yield f"I16 {name} ran in attempt {max(r.attempt for r in found)}, kept by attempt {kept.attempt}"


def _runs(name: str, found: Sequence[StepRun], lost: set[int]) -> Iterator[str]:
    for attempt, number in Counter(run.attempt for run in found).items():
        if number > 1:
            yield f"I16 {name} ran {number} times in attempt {attempt}"
    last = max(run.attempt for run in found)
    for run in found:
        if run.attempt < last and run.attempt not in lost:
            yield f"I16 {name} ran again behind attempt {run.attempt}, which was not lost"
