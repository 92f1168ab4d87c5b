"""Map each act of an operator to the transition of one job, or to the reason for a refusal. Pure.

Single commands and bulk actions share these rules.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from acked_common.model import interventions
from acked_common.model.callbacks import with_callback
from acked_common.model.lifecycle import Reason, State, Transition, WrongState
from acked_common.model.lifecycle_waits import ENDABLE
from acked_common.model.principal import Actor
from acked_common.runtime.settings import JobTimes
from acked_common.store.records import Job

MOST_NAMED = 3
"""Names of signals in a sentence."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """The outcome that an operator sets for a failed job; `result` is a JSON text."""

    state: State
    result: bytes | None
    note: str | None


class ActRefused(Exception):
    """The job does not allow the act; the message explains why to the operator."""


@dataclass(frozen=True, slots=True)
class Acts:
    """The transitions of acts. Each method raises `ActRefused` if the job does not allow the act.

    A method returns None if the act would not change the job.
    """

    times: JobTimes

    def cancel(self, job: Job, *, at: datetime, by: Actor) -> Transition | None:
        """Cancel a job that no worker runs, or set the flag that the owner of a running job reads."""
        if job.state is State.CANCELLED or job.cancel_requested:
            return None
        if job.state is State.RUNNING:
            return interventions.request_cancel(at=at, by=by)
        return _allowed(job, interventions.cancel(at=at, retention_s=self.times.retention_s, by=by))

    def retry(self, job: Job, *, at: datetime, by: Actor) -> Transition:
        """Start a new run of a failed or cancelled job."""
        _check_not_erased(job, "retried: its handler would have no payload")
        return self._queued_by(interventions.retry, job, at=at, by=by)

    def resolve(self, job: Job, resolution: Resolution, *, at: datetime, by: Actor) -> Transition:
        """End a failed job by the resolution."""
        if resolution.result is not None:
            _check_not_erased(job, "resolved with a result. Resolve it without one")
        transition = interventions.resolve(
            at=at,
            to=resolution.state,
            result=resolution.result,
            note=resolution.note,
            retention_s=self.times.retention_s,
            by=by,
        )
        return _allowed(job, transition)

    def run_now(self, job: Job, *, at: datetime, by: Actor) -> Transition:
        """End the delay or the back-off of a scheduled job."""
        return self._queued_by(interventions.run_now, job, at=at, by=by)

    def end_wait(self, job: Job, *, at: datetime, by: Actor) -> Transition:
        """End the sleep, or the delay of a try, for which a job is parked. Its ledger must have that first."""
        waits = job.waits
        if waits is None or waits.until_at is None or waits.call not in ENDABLE:
            signals = " or ".join(map(repr, waits.signals[:MOST_NAMED])) if waits is not None else ""
            raise ActRefused(
                f"the job waits for signal {signals}: send the signal, or cancel the job. Only a sleep ends early"
            )
        return self._queued_by(interventions.end_wait, job, at=at, by=by)

    def _queued_by(self, act: Callable[..., Transition], job: Job, *, at: datetime, by: Actor) -> Transition:
        """Queue the job by one of the interventions that do so."""
        expires_in_s = job.options.expires_in_s or self.times.expires_in_s
        return _allowed(job, act(at=at, grace_s=self.times.grace_s, expires_in_s=expires_in_s, by=by))

    def erase(self, job: Job, *, at: datetime, by: Actor) -> Transition | None:
        """Remove payload, result and errors of an ended job."""
        if job.state not in interventions.ERASABLE:
            raise ActRefused(f"{WrongState(job.state, Reason.ERASED)}: cancel it first, or wait for its end")
        # An operator may have resolved the job after the erasure, with a note.
        if job.erased_at is not None and job.note is None:
            return None
        return interventions.erase(at=at, state=job.state, by=by)

    def edit(self, job: Job, *, edited_to: UUID, at: datetime, by: Actor) -> Transition:
        """Record the job that replaces this one."""
        check_editable(job)
        return _marked(
            job,
            interventions.edit(at=at, state=job.state, edited_to=edited_to, retention_s=self.times.retention_s, by=by),
        )


def edited_run(job: Job) -> int:
    """Return the run that an edit of this job concerns. An edited run stays the last one until a retry."""
    return job.run - 1 if job.reason == Reason.EDITED else job.run


def check_editable(job: Job) -> None:
    """Raise `ActRefused` unless another job may replace this one."""
    if job.state not in interventions.EDITABLE:
        raise ActRefused(str(WrongState(job.state, Reason.EDITED)))
    _check_not_erased(job, "edited: its payload is gone. Send a new request")


def _allowed(job: Job, transition: Transition) -> Transition:
    if job.state not in transition.leaves:
        raise ActRefused(str(WrongState(job.state, transition.reason)))
    return _marked(job, transition)


def _marked(job: Job, transition: Transition) -> Transition:
    """Return the transition with the marks of the job's callback and endpoints, if it has some."""
    if job.callback is None and not job.callback_endpoints:
        return transition
    return with_callback(transition, state=job.state, run=job.run, at=job.finished_at, is_open=job.callback_open)


def _check_not_erased(job: Job, what: str) -> None:
    if job.erased_at is not None:
        raise ActRefused(f"a job whose payload and result were erased can't be {what}")
