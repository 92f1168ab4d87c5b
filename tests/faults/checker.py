"""THE checker: reads the evidence of an experiment and tells figures and every breach of an invariant. Pure.

I1 every 202 is there and has ended. I2 one end a run, no rev left out. I3 a result is that of the attempt that the job
counts. I4 a success had its effect; attempts overlap only where a lease was lost. I5 what is unknown is there whole,
once, or not at all, and nothing is there that was refused. I6 a key stands for one job, and is answered by it. I7 live
and wake go together. I8 the broker is empty. I9 the observers of the feed know how it ended, and nothing was left out
on the way. I12 no secret in a log. I13 what operators have moved is what they asked for, each job once, and counted.
I14 no job of a kind starts while it is paused. I15 to I17 are those of durable jobs, see `durable_checker`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from acked_common.model.lifecycle import HISTORY_KEPT, Reason, State
from faults.clients import Told
from faults.durable_checker import durable_breaches
from faults.evidence import Effect, Evidence, Kept

TERMINAL = frozenset(state.value for state in State if state.is_terminal)


@dataclass(frozen=True, slots=True)
class Figures:
    """One line of the table."""

    accepted: int = 0
    refused: int = 0
    unknown: int = 0
    ended: int = 0
    lost: int = 0
    stuck: int = 0
    ended_twice: int = 0
    failed: int = 0
    reruns: int = 0
    doubled: int = 0
    """Jobs whose effect ended more than once: at least once is the promise, so this is a figure and no breach."""
    taken_back_s: float = 0.0
    """The longest time from a kill or a pause to the take-back of a job that ran there."""
    claimed_again_s: float = 0.0
    """The longest time from there to the next claim: a job that is taken back stands behind all that wait."""
    resyncs: int = 0
    gaps: int = 0
    p99_ms: float = 0.0


def check(evidence: Evidence) -> tuple[Figures, list[str]]:
    """The figures, and all breaches as texts that begin with the invariant's name."""
    accepted = {attempt.job_id for attempt in evidence.attempts if attempt.job_id is not None}
    jobs = evidence.jobs
    mine = [jobs[job_id] for job_id in sorted(accepted & jobs.keys())]
    effects: defaultdict[str, list[Effect]] = defaultdict(list)
    for effect in evidence.effects:
        effects[effect.job_id].append(effect)
    breaches = [
        *_accepted(evidence, accepted),
        *_refused_and_unknown(evidence),
        *_ends(evidence),
        *_results(evidence, effects),
        *_overlaps(jobs, effects),
        *_idempotency(evidence),
        *_at_rest(evidence),
        *_observers(evidence),
        *_commands(evidence),
        *_pauses(evidence, effects),
        *durable_breaches(evidence),
    ]
    delays = list(_rerun_delays(evidence, effects))
    told = Counter(attempt.told for attempt in evidence.attempts)
    figures = Figures(
        accepted=len(accepted),
        refused=told[Told.REFUSED],
        unknown=told[Told.UNKNOWN],
        ended=sum(job.state in TERMINAL for job in jobs.values()),
        lost=len(accepted - jobs.keys()),
        stuck=sum(job.state not in TERMINAL for job in jobs.values()),
        ended_twice=sum(_ended_twice(job) for job in jobs.values()),
        failed=sum(job.state == State.FAILED.value and job.id not in evidence.fails_on_purpose for job in mine),
        reruns=sum(sum(entry.reason == Reason.LEASE_EXPIRED.value for entry in job.entries) for job in jobs.values()),
        doubled=sum(sum(effect.how == "ended" for effect in found) > 1 for found in effects.values()),
        taken_back_s=max((taken for taken, _ in delays), default=0.0),
        claimed_again_s=max((claimed for _, claimed in delays), default=0.0),
        resyncs=sum(seen.resyncs for seen in evidence.observers),
        gaps=sum(len(seen.wrong) for seen in evidence.observers),
        p99_ms=_p99_ms(evidence),
    )
    return figures, breaches


def _accepted(evidence: Evidence, accepted: set[str]) -> Iterator[str]:
    for job_id in sorted(accepted - evidence.jobs.keys()):
        yield f"I1 {job_id} was accepted and is lost"
    for attempt in evidence.attempts:
        if attempt.told is Told.WRONG:
            yield f"I1 an answer that the contract does not have: {attempt.detail}"
    for job in evidence.jobs.values():
        if job.state not in TERMINAL:
            yield f"I1 {job.id} is stuck: {job.state}"
        elif job.state == State.FAILED.value and job.id not in evidence.fails_on_purpose:
            yield f"I1 {job.id} failed, which its handler never does: {job.entries[-1:]}"
        elif job.state == State.CANCELLED.value and not evidence.may_cancel:
            yield f"I1 {job.id} was cancelled by nobody"


def _refused_and_unknown(evidence: Evidence) -> Iterator[str]:
    by_tag: Counter[str] = Counter(tag for job in evidence.jobs.values() for tag in job.tags)
    # With a key it is sent again, and what one attempt did not store another may have.
    by_another = {a.tag for a in evidence.attempts if a.key and not a.is_other and a.told is not Told.REFUSED}
    for attempt in evidence.attempts:
        is_refusal = attempt.told is Told.REFUSED and not attempt.is_other
        if is_refusal and by_tag[attempt.tag] and attempt.tag not in by_another:
            yield f"I5 {attempt.tag} was refused ({attempt.detail}) and is stored"
        if by_tag[attempt.tag] > 1:
            yield f"I5 {attempt.tag} is stored {by_tag[attempt.tag]} times"
    for job in evidence.jobs.values():
        if job.missing:
            yield f"I5 {job.id} is half a job, without {', '.join(job.missing)}"


def _ended_twice(job: Kept) -> bool:
    runs: Counter[int] = Counter()
    run = 1
    for entry in job.entries:
        if entry.reason in (Reason.RETRIED.value, Reason.RESOLVED.value):
            run += 1
        runs[run] += entry.state in TERMINAL
    return any(number > 1 for number in runs.values())


def _ends(evidence: Evidence) -> Iterator[str]:
    for job in evidence.jobs.values():
        if _ended_twice(job):
            yield f"I2 {job.id} ended twice in one run"
        revs = [entry.rev for entry in job.entries]
        if revs != list(range(max(2, job.rev + 1 - HISTORY_KEPT), job.rev + 1)):
            yield f"I2 {job.id} left out a rev: {revs} of {job.rev}"
        if job.entries and (job.entries[-1].state, job.entries[-1].attempt) != (job.state, job.attempt):
            yield f"I2 {job.id} is {job.state}, its history says {job.entries[-1]}"


def _results(evidence: Evidence, effects: Mapping[str, list[Effect]]) -> Iterator[str]:
    for job in evidence.jobs.values():
        if job.state != State.SUCCEEDED.value or not isinstance(job.result, dict) or "attempt" not in job.result:
            continue
        if job.result["attempt"] != job.attempt:
            yield f"I3 {job.id} has the result of attempt {job.result['attempt']}, but counts {job.attempt}"
        if not any(effect.attempt == job.attempt and effect.how == "ended" for effect in effects.get(job.id, ())):
            yield f"I4 {job.id} succeeded in attempt {job.attempt} without its effect"


def _overlaps(jobs: Mapping[str, Kept], effects: Mapping[str, list[Effect]]) -> Iterator[str]:
    for job_id, found in effects.items():
        job = jobs.get(job_id)
        starts = Counter(effect.attempt for effect in found)
        for attempt, number in starts.items():
            if number > 1:
                yield f"I4 attempt {attempt} of {job_id} was started {number} times"
        if job is None:
            yield f"I4 {job_id} had an effect and is not there"
            continue
        lost = {entry.attempt for entry in job.entries if entry.reason == Reason.LEASE_EXPIRED.value}
        ordered = sorted(found, key=lambda effect: effect.attempt)
        for earlier, later in pairwise(ordered):
            overlaps = earlier.end_at is not None and later.begin_at < earlier.end_at
            if overlaps and earlier.attempt not in lost:
                yield f"I4 attempts {earlier.attempt} and {later.attempt} of {job_id} overlap, no lease was lost"


def _idempotency(evidence: Evidence) -> Iterator[str]:
    ids: defaultdict[str, set[str | None]] = defaultdict(set)
    for attempt in evidence.attempts:
        if attempt.key is None:
            continue
        if attempt.told is Told.ACCEPTED:
            ids[attempt.key].add(attempt.job_id)
            if attempt.is_other:
                yield f"I6 {attempt.key} took something else for the same"
        if attempt.told is Told.REUSED:
            ids[attempt.key].add(attempt.detail)
            if not attempt.is_other:
                yield f"I6 {attempt.key} took the same for something else"
    for key, found in ids.items():
        if len(found) > 1:
            yield f"I6 {key} stands for {len(found)} jobs"


def _at_rest(evidence: Evidence) -> Iterator[str]:
    if evidence.wakeless:
        yield f"I7 {evidence.wakeless} jobs are live without a wake, or ended with one"
    for queue, number in evidence.waiting_bundles.items():
        if number:
            yield f"I8 {queue} still holds {number} messages"
    for leak in evidence.leaks:
        yield f"I12 {leak}"


def _observers(evidence: Evidence) -> Iterator[str]:
    for number, seen in enumerate(evidence.observers, 1):
        for wrong in seen.wrong[:5]:
            yield f"I9 observer {number}: {wrong}"
        for job_id, (rev, state) in seen.jobs_that_hold.items():
            job = evidence.jobs.get(job_id)
            if job is not None and (rev, state) != (job.rev, job.state):
                yield f"I9 observer {number} knows {job_id} as {state} {rev}, it is {job.state} {job.rev}"
        if seen.counts is not None:
            counted = Counter(job.state for job in evidence.jobs.values())
            if +Counter(seen.counts) != counted:
                yield f"I9 observer {number} counts {dict(seen.counts)}, there are {dict(counted)}"
        elif seen.jobs.keys() != seen.jobs.keys() & evidence.jobs.keys():
            yield f"I9 observer {number} knows jobs that are not there"


def _commands(evidence: Evidence) -> Iterator[str]:
    for command in evidence.commands:
        names = {f"bulk:{standing.id}" for standing in command.standings} or {"api"}
        moved: Counter[str] = Counter()
        for job in evidence.jobs.values():
            moved[job.id] += sum(e.reason == command.reason and e.via in names for e in job.entries)
        if command.standings:
            counted = sum(standing.done for standing in command.standings)
            if counted != moved.total():
                yield f"I13 {', '.join(sorted(names))} counts {counted} jobs, and has moved {moved.total()}"
            for job_id in sorted(+moved):
                if job_id not in command.ids:
                    yield f"I13 {job_id} was {command.reason} and not planned"
        for standing in command.standings:
            if standing.state not in ("done", "aborted")[: 1 + command.is_aborted]:
                yield f"I13 bulk:{standing.id} is {standing.state}"
        for job_id in sorted(command.ids):
            if moved[job_id] > 1:
                yield f"I13 {job_id} was {command.reason} {moved[job_id]} times"
            elif not moved[job_id] and not command.is_aborted:
                yield f"I13 {job_id} was planned and not {command.reason}"


def _pauses(evidence: Evidence, effects: Mapping[str, list[Effect]]) -> Iterator[str]:
    for pause in evidence.pauses:
        for job_id, found in effects.items():
            job = evidence.jobs.get(job_id)
            for effect in found if job is not None and job.kind == pause.kind else ():
                if pause.from_at <= effect.begin_at < pause.until_at:
                    since_s = effect.begin_at - pause.from_at
                    yield f"I14 {job_id} began {since_s:.2f} s after the pause of {pause.kind} took effect"


def _rerun_delays(evidence: Evidence, effects: Mapping[str, list[Effect]]) -> Iterator[tuple[float, float]]:
    """From the loss of the process to the take-back, and from there to the next claim, of each attempt that it lost."""
    lost_at = {loss.pid: loss.at for loss in evidence.losses}
    for job_id, found in effects.items():
        job = evidence.jobs.get(job_id)
        if job is None:
            continue
        claimed = {e.attempt: e.at for e in job.entries if e.reason == Reason.CLAIMED.value}
        taken_back = {e.attempt: e.at for e in job.entries if e.reason == Reason.LEASE_EXPIRED.value}
        for effect in found:
            taken_at, died_at = taken_back.get(effect.attempt), lost_at.get(effect.pid)
            # One that was taken back before had lost its lease another way.
            if taken_at is not None and died_at is not None and taken_at >= died_at:
                yield taken_at - died_at, claimed.get(effect.attempt + 1, taken_at) - taken_at


def _p99_ms(evidence: Evidence) -> float:
    took = sorted(attempt.took_s for attempt in evidence.attempts if attempt.told is Told.ACCEPTED)
    return took[min(len(took) - 1, len(took) * 99 // 100)] * 1000 if took else 0.0
