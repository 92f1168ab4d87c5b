"""What each act of an operator does to one job: its transition, or why there is none. Pure.

Single commands and bulk actions take the same transitions, so that one rule holds for both.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from acked_common.model import interventions
from acked_common.model.lifecycle import Reason, State, Transition, WrongState
from acked_common.model.principal import Actor
from acked_common.runtime.settings import JobTimes
from acked_common.store.records import Job


@dataclass(frozen=True, slots=True)
class Resolution:
    """The end that an operator gives a failed job; `result` is a JSON text."""

    state: State
    result: bytes | None
    note: str | None


class ActRefused(Exception):
    """The job does not allow the act; the message says why, for the operator."""


@dataclass(frozen=True, slots=True)
class Acts:
    """The transitions of acts; every one raises `ActRefused` for a job that does not allow it.

    They return None where the job is as the act would leave it already.
    """

    times: JobTimes

    def cancel(self, job: Job, *, at: datetime, by: Actor) -> Transition | None:
        """End a job that nobody runs, or raise the flag that the owner of a running one sees."""
        if job.state is State.CANCELLED or job.cancel_requested:
            return None
        if job.state is State.RUNNING:
            return interventions.request_cancel(at=at, by=by)
        return _allowed(job, interventions.cancel(at=at, retention_s=self.times.retention_s, by=by))

    def retry(self, job: Job, *, at: datetime, by: Actor) -> Transition:
        """Start a new run of a failed or cancelled job."""
        _check_not_erased(job, "retried: nothing is left that its handler could be given")
        transition = interventions.retry(
            at=at,
            grace_s=self.times.grace_s,
            expires_in_s=job.options.expires_in_s or self.times.expires_in_s,
            by=by,
        )
        return _allowed(job, transition)

    def resolve(self, job: Job, resolution: Resolution, *, at: datetime, by: Actor) -> Transition:
        """End a failed job as the resolution says."""
        if resolution.result is not None:
            _check_not_erased(job, "resolved with a result: it keeps none. Resolve it without one")
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
        transition = interventions.run_now(
            at=at,
            grace_s=self.times.grace_s,
            expires_in_s=job.options.expires_in_s or self.times.expires_in_s,
            by=by,
        )
        return _allowed(job, transition)

    def erase(self, job: Job, *, at: datetime, by: Actor) -> Transition | None:
        """Remove what an ended job was given and what came of it."""
        if not job.state.is_terminal:
            raise ActRefused(f"{WrongState(job.state, Reason.ERASED)}: cancel it first, or wait for its end")
        # An operator may have resolved it behind the erasure, with a note.
        if job.erased_at is not None and job.note is None:
            return None
        return interventions.erase(at=at, state=job.state, by=by)

    def edit(self, job: Job, *, edited_to: UUID, at: datetime, by: Actor) -> Transition:
        """Name the job that was put in the place of this one."""
        check_editable(job)
        return interventions.edit(
            at=at, state=job.state, edited_to=edited_to, retention_s=self.times.retention_s, by=by
        )


EDITABLE = frozenset({State.FAILED, State.CANCELLED})


def edited_run(job: Job) -> int:
    """Return the run that an edit of this job concerns: one that was edited stays the last one until a retry."""
    return job.run - 1 if job.reason == Reason.EDITED else job.run


def check_editable(job: Job) -> None:
    """Raise `ActRefused` unless another job may be put in the place of this one."""
    if job.state not in EDITABLE:
        raise ActRefused(str(WrongState(job.state, Reason.EDITED)))
    _check_not_erased(job, "edited: its kind and options were those of a payload that is gone. Send a new request")


def _allowed(job: Job, transition: Transition) -> Transition:
    if job.state not in transition.leaves:
        raise ActRefused(str(WrongState(job.state, transition.reason)))
    return transition


def _check_not_erased(job: Job, what: str) -> None:
    if job.erased_at is not None:
        raise ActRefused(f"a job whose payload and result were erased can't be {what}")
