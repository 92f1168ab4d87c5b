"""The commands of operators that move one job: cancel, retry, run now, resolve, erase.

A command is a compare-and-set. It is retried when the job moved between the read and the write.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from uuid import UUID

import msgspec

from acked_common.api.status_route import stored_job
from acked_common.background.job_writer import JobWriter
from acked_common.http import fair_thread
from acked_common.http.limits import Client
from acked_common.http.problems import ErrorAt, ProblemError, json_problem, problem
from acked_common.model import strict_json
from acked_common.model.audit import AuditAction
from acked_common.model.interventions import RESOLVED_AS
from acked_common.model.ledger import LedgerFull
from acked_common.model.lifecycle import Move, State, Transition
from acked_common.model.principal import LOCAL_OPERATOR, Actor, Operator
from acked_common.model.strict_json import StrictJsonError
from acked_common.runtime import failpoints
from acked_common.runtime.clock import Clock
from acked_common.runtime.settings import JobTimes
from acked_common.store.ledgers import WaitStore
from acked_common.store.ports import JobReader
from acked_common.store.records import Applied, Job
from acked_gateway.audit.notes import Audit
from acked_gateway.jobs.acts import ActRefused, Acts, Resolution

TRIES = 10
"""Attempts of one compare-and-set before the command fails with `wrong-state`."""
MAX_RESULT_BYTES = 1 << 20
MAX_NOTE_CHARS = 1000
MAX_BODY_BYTES = 2 * 2**20

TransitionFor = Callable[..., Transition | None]


class Commands:
    """Moves single jobs of a tenant on behalf of an operator. Jobs of other tenants are treated as nonexistent.

    Each act is written to the audit before it changes the job, unless the job does not allow it.
    Every command returns the job afterwards, and raises `ProblemError` or `StoreError`.
    """

    def __init__(
        self,
        store: JobReader,
        writer: JobWriter,
        audit: Audit,
        clock: Clock,
        times: JobTimes,
        stop_attempt: Callable[[str, UUID, int], None] = lambda boot, job_id, attempt: None,
        *,
        waits: WaitStore,
    ) -> None:
        """`stop_attempt` sends a cancel to the worker process that runs an attempt. It returns at once and may be lost;
        the worker then sees the cancel with its next renewal. `waits` ends waits of parked jobs."""
        self._store = store
        self._writer = writer
        self._audit = audit
        self._clock = clock
        self._acts = Acts(times)
        self._stop_attempt = stop_attempt
        self._waits = waits

    async def cancel(self, id_text: str, *, operator: Operator = LOCAL_OPERATOR) -> Job:
        """Cancel a job that no worker runs, or request the cancel of a running attempt. A repeated cancel
        changes nothing."""
        job = await self._move(id_text, operator, AuditAction.CANCEL, self._acts.cancel)
        if job.state is State.RUNNING and job.cancel_requested and job.owner is not None:
            self._stop_attempt(job.owner.boot, job.id, job.attempt)
        return job

    async def retry(self, id_text: str, *, operator: Operator = LOCAL_OPERATOR) -> Job:
        """Start a new run of a failed or cancelled job, and publish it."""
        return await self._move(id_text, operator, AuditAction.RETRY, self._acts.retry)

    async def run_now(self, id_text: str, *, operator: Operator = LOCAL_OPERATOR) -> Job:
        """End the delay or the back-off of a scheduled job, or the sleep of a parked one, and publish it.

        The ledger of a parked job has the early end before the job moves, so that its next attempt goes on. Should the
        gateway die in between, the job stays parked, and the same command again moves it.
        """

        def transition(job: Job, *, at: datetime, by: Actor) -> Transition:
            act = self._acts.end_wait if job.state is State.WAITING else self._acts.run_now
            return act(job, at=at, by=by)

        return await self._move(id_text, operator, AuditAction.RUN_NOW, transition, ahead=self._end_wait)

    async def _end_wait(self, job: Job) -> None:
        if job.waits is None:
            return
        ended = await self._waits.end_wait(job.id, tenant=job.tenant, waits=job.waits, at=self._clock.now())
        if isinstance(ended, LedgerFull):
            raise wrong_state(job, f"{ended.limit}; cancel the job, or let it wait")
        if not ended:
            raise wrong_state(job, "its ledger does not have the wait that the job names; cancel the job and retry it")
        failpoints.reach("gateway.wait-ended")

    async def resolve(self, id_text: str, resolution: Resolution, *, operator: Operator = LOCAL_OPERATOR) -> Job:
        """End a failed job with the operator's resolution."""

        def transition(job: Job, *, at: datetime, by: Actor) -> Transition:
            return self._acts.resolve(job, resolution, at=at, by=by)

        return await self._move(
            id_text, operator, AuditAction.RESOLVE, transition, reason=resolution.note, state=resolution.state.value
        )

    async def erase(self, id_text: str, *, operator: Operator = LOCAL_OPERATOR) -> Job:
        """Remove payload, result and errors of an ended job. A repeated erasure changes nothing."""
        return await self._move(id_text, operator, AuditAction.ERASE, self._acts.erase)

    async def _move(
        self,
        id_text: str,
        operator: Operator,
        action: AuditAction,
        transition_for: TransitionFor,
        *,
        reason: str | None = None,
        ahead: Callable[[Job], Awaitable[None]] | None = None,
        **asked: str,
    ) -> Job:
        """Apply the transition for the current job, after `ahead`; return the job unchanged if there is none."""
        job = await stored_job(self._store, id_text, tenant=operator.tenant)
        is_noted = False
        for _ in range(TRIES):
            try:
                transition = transition_for(job, at=self._clock.now(), by=operator.actor)
            except ActRefused as refused:
                raise wrong_state(job, str(refused)) from None
            if transition is None:
                return job
            if not is_noted:
                await self._audit.note(operator, action, {"job": str(job.id), **asked}, reason=reason)
                is_noted = True
            if ahead is not None:
                await ahead(job)
            outcome = await self._writer.apply([Move(job.seen, transition)], [job.kind])
            job = await stored_job(self._store, id_text, tenant=operator.tenant)
            if outcome == [Applied.APPLIED]:
                return job
        raise ProblemError(
            problem(
                "wrong-state",
                "concurrent changes of the job prevented each attempt; retry the command",
                extra={"state": job.state.value},
            )
        )


def wrong_state(job: Job, why: str) -> ProblemError:
    """Return the problem of an act that the job does not allow."""
    return ProblemError(problem("wrong-state", why, extra={"state": job.state.value, "reason": job.reason}))


async def read_resolution(body: bytes, *, client: Client = None) -> Resolution:
    """Parse the body of a resolve, a large or doubtful one in a thread. Raises `ProblemError`."""
    return await fair_thread.read(client, len(body), lambda may_scan: parse_resolution(body, may_scan=may_scan))


def parse_resolution(body: bytes, *, may_scan: bool = True) -> Resolution:
    """Parse `{"state": "succeeded" or "failed", "result"?, "note"?}`. Raises `ProblemError`, and `NeedsScan` unless
    `may_scan`."""
    try:
        members = strict_json.parse(body, max_bytes=MAX_BODY_BYTES, may_scan=may_scan)
    except StrictJsonError as error:
        raise ProblemError(json_problem(error)) from None
    if not isinstance(members, dict):
        raise _invalid([{"pointer": "", "detail": 'must be an object such as {"state": "succeeded"}'}])
    errors: list[ErrorAt] = []
    ends = [state.value for state in RESOLVED_AS]
    state, note = members.get("state"), members.get("note")
    if state not in ends:
        errors.append({"pointer": "/state", "detail": f"must be one of {', '.join(ends)}"})
    if note is not None and not (isinstance(note, str) and len(note) <= MAX_NOTE_CHARS):
        errors.append({"pointer": "/note", "detail": f"must be a text of at most {MAX_NOTE_CHARS} characters"})
    errors += [
        {"pointer": f"/{name}", "detail": "is not a known field; known fields are state, result and note"}
        for name in members
        if name not in ("state", "result", "note")
    ]
    result = msgspec.json.encode(members["result"]) if "result" in members else None
    if result is not None and len(result) > MAX_RESULT_BYTES:
        errors.append({"pointer": "/result", "detail": f"must be at most {MAX_RESULT_BYTES} bytes"})
    if errors:
        raise _invalid(errors)
    return Resolution(State(str(state)), result, note)


def _invalid(errors: list[ErrorAt]) -> ProblemError:
    return ProblemError(problem("invalid-field", "the body can't be used; see errors", errors=errors))
