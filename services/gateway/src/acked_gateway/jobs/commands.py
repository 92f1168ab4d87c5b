"""The commands of operators: cancel, retry and resolve a job.

A command is a compare-and-set. It is retried when the job moved between the read and the write.
"""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import msgspec

from acked_common.api.status_route import stored_job
from acked_common.background.job_writer import JobWriter
from acked_common.http import fair_thread
from acked_common.http.limits import Client
from acked_common.http.problems import ErrorAt, ProblemError, json_problem, problem
from acked_common.model import interventions, strict_json
from acked_common.model.lifecycle import Move, State, Transition, WrongState
from acked_common.model.principal import DEFAULT_TENANT
from acked_common.model.strict_json import StrictJsonError
from acked_common.runtime.clock import Clock
from acked_common.runtime.settings import JobTimes
from acked_common.store.ports import JobReader
from acked_common.store.records import Applied, Job

TRIES = 10
"""Attempts of one compare-and-set before the command fails with `wrong-state`."""
MAX_RESULT_BYTES = 1 << 20
MAX_NOTE_CHARS = 1000
MAX_BODY_BYTES = 2 * 2**20
RESOLVED_AS = (State.SUCCEEDED, State.FAILED)


@dataclass(frozen=True, slots=True)
class Resolution:
    """The end that an operator gives a failed job; `result` is a JSON text."""

    state: State
    result: bytes | None
    note: str | None


class Commands:
    """Moves jobs of a tenant on behalf of an operator. Jobs of other tenants are treated as nonexistent.

    Every command returns the job as it is afterwards, and raises `ProblemError` or `StoreError`.
    """

    def __init__(
        self,
        store: JobReader,
        writer: JobWriter,
        clock: Clock,
        times: JobTimes,
        stop_attempt: Callable[[str, UUID, int], None] = lambda boot, job_id, attempt: None,
    ) -> None:
        """`stop_attempt` sends a cancel to the worker process that runs an attempt. It returns at once and may be lost;
        the worker then sees the cancel with its next renewal."""
        self._store = store
        self._writer = writer
        self._clock = clock
        self._times = times
        self._stop_attempt = stop_attempt

    async def cancel(self, id_text: str, *, tenant: str = DEFAULT_TENANT) -> Job:
        """Cancel a job that no worker runs, or request the cancel of a running attempt. A repeated cancel
        changes nothing."""

        def transition(job: Job) -> Transition | None:
            if job.state is State.CANCELLED or job.cancel_requested:
                return None
            if job.state is State.RUNNING:
                return interventions.request_cancel(at=self._clock.now())
            return interventions.cancel(at=self._clock.now(), retention_s=self._times.retention_s)

        job = await self._move(id_text, tenant, transition)
        if job.state is State.RUNNING and job.cancel_requested and job.owner is not None:
            self._stop_attempt(job.owner.boot, job.id, job.attempt)
        return job

    async def retry(self, id_text: str, *, tenant: str = DEFAULT_TENANT) -> Job:
        """Start a new run of a failed job, and publish it."""

        def transition(job: Job) -> Transition:
            return interventions.retry(
                at=self._clock.now(),
                grace_s=self._times.grace_s,
                expires_in_s=job.options.expires_in_s or self._times.expires_in_s,
            )

        return await self._move(id_text, tenant, transition)

    async def resolve(self, id_text: str, resolution: Resolution, *, tenant: str = DEFAULT_TENANT) -> Job:
        """End a failed job with the operator's resolution."""

        def transition(_: Job) -> Transition:
            return interventions.resolve(
                at=self._clock.now(),
                to=resolution.state,
                result=resolution.result,
                note=resolution.note,
                retention_s=self._times.retention_s,
            )

        return await self._move(id_text, tenant, transition)

    async def _move(self, id_text: str, tenant: str, transition_for: Callable[[Job], Transition | None]) -> Job:
        """Apply the transition for the current job; return the job unchanged if there is none."""
        job = await stored_job(self._store, id_text, tenant=tenant)
        for _ in range(TRIES):
            transition = transition_for(job)
            if transition is None:
                return job
            try:
                outcome = await self._writer.apply([Move(job.seen, transition)], [job.kind])
            except WrongState as error:
                raise ProblemError(
                    problem("wrong-state", str(error), extra={"state": job.state.value, "reason": job.reason})
                ) from None
            job = await stored_job(self._store, id_text, tenant=tenant)
            if outcome == [Applied.APPLIED]:
                return job
        raise ProblemError(
            problem("wrong-state", "the job moves too fast to be changed; try again", extra={"state": job.state.value})
        )


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
        {"pointer": f"/{name}", "detail": "is not a known field; known are state, result, note"}
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
