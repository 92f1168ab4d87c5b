"""Edit and retry: replace a failed or cancelled job by one with another payload.

Only intake inserts jobs, so the gateway sends it a request with the operator's token. The idempotency key is derived
from the job and its run. So a double click makes one job, and a repetition after a crash between the two writes
completes the edit.
"""

from uuid import UUID

import msgspec

from acked_common.api.status_route import stored_job
from acked_common.background.job_writer import JobWriter
from acked_common.http import fair_thread
from acked_common.http.limits import Client
from acked_common.http.problems import ErrorAt, Problem, ProblemError, json_problem, problem
from acked_common.model import strict_json
from acked_common.model.audit import AuditAction
from acked_common.model.lifecycle import Move
from acked_common.model.options import DEFAULTS
from acked_common.model.principal import Operator
from acked_common.model.strict_json import StrictJsonError
from acked_common.runtime.clock import Clock
from acked_common.runtime.settings import JobTimes
from acked_common.store.ports import JobReader
from acked_common.store.records import Applied, Job
from acked_gateway.audit.notes import Audit
from acked_gateway.jobs.acts import ActRefused, Acts, check_editable, edited_run
from acked_gateway.jobs.commands import MAX_BODY_BYTES, TRIES, wrong_state
from acked_gateway.jobs.intake_client import AcceptedJob, IntakeClient

KNOWN_FIELDS = ("payload",)


class Edits:
    """Replaces jobs on behalf of an operator."""

    def __init__(
        self, store: JobReader, writer: JobWriter, audit: Audit, intake: IntakeClient, clock: Clock, times: JobTimes
    ) -> None:
        self._store = store
        self._writer = writer
        self._audit = audit
        self._intake = intake
        self._clock = clock
        self._acts = Acts(times)

    async def editable(self, id_text: str, *, operator: Operator) -> Job:
        """Return a job that another one may replace. Raises `ProblemError`, `StoreError`."""
        job = await stored_job(self._store, id_text, tenant=operator.tenant)
        try:
            check_editable(job)
        except ActRefused as refused:
            raise wrong_state(job, str(refused)) from None
        return job

    async def edit(self, job: Job, payload: bytes, *, operator: Operator, authorization: str | None) -> AcceptedJob:
        """Have intake store a job of the same kind and options with this payload, a JSON text, and link both jobs.

        This works once per run: the same payload again returns the same job. Raises `ProblemError`, `StoreError`.
        """
        run = edited_run(job)
        await self._audit.note(operator, AuditAction.EDIT, {"job": str(job.id), "run": run})
        key = f"edit:{job.id}:{run}"
        try:
            accepted = await self._intake.process(edited_request(job, payload), key=key, authorization=authorization)
        except ProblemError as error:
            raise _explained(error.problem, job, run) from None
        await self._replace(job, run, accepted.id, operator)
        return accepted

    async def _replace(self, job: Job, run: int, edited_to: UUID, operator: Operator) -> None:
        """Record the new job in the old one, unless the old one names it already or has moved meanwhile."""
        for _ in range(TRIES):
            if job.edited_to == edited_to or edited_run(job) != run:
                return
            try:
                transition = self._acts.edit(job, edited_to=edited_to, at=self._clock.now(), by=operator.actor)
            except ActRefused:
                return
            if await self._writer.apply([Move(job.seen, transition)], [job.kind]) == [Applied.APPLIED]:
                return
            job = await stored_job(self._store, str(job.id), tenant=operator.tenant)


def edited_request(job: Job, payload: bytes) -> bytes:
    """Return the body of the request to intake, with kind and options of the old job."""
    options = {name: value for name, default in DEFAULTS.items() if (value := getattr(job.options, name)) != default}
    if job.callback is not None:
        options["callback"] = job.callback
    return msgspec.json.encode(
        {"kind": job.kind, "payload": msgspec.Raw(payload), "edited_from": str(job.id), **options}
    )


def _explained(found: Problem, job: Job, run: int) -> ProblemError:
    """Return intake's problem in terms of the edit."""
    if found.name != "idempotency-key-reused":
        return ProblemError(found)
    made = found.extra.get("id")
    detail = (
        f"run {run} of this job was already edited with another payload, which made job {made}. Edit that one, or "
        "retry this one first"
    )
    extra = {"state": job.state.value, "reason": job.reason, "edited_to": made}
    return ProblemError(problem("wrong-state", detail, extra=extra))


class _EditBody(msgspec.Struct):
    payload: msgspec.Raw


_payload_decoder = msgspec.json.Decoder(_EditBody)


async def read_edit(body: bytes, *, client: Client = None) -> bytes:
    """Parse the body of an edit, a large or doubtful one in a thread. Raises `ProblemError`."""
    return await fair_thread.read(client, len(body), lambda may_scan: parse_edit(body, may_scan=may_scan))


def parse_edit(body: bytes, *, may_scan: bool = True) -> bytes:
    """Return the payload in `{"payload": any JSON}`, exactly as it was sent. Raises `ProblemError`, and `NeedsScan`
    unless `may_scan`."""
    try:
        members = strict_json.parse(body, max_bytes=MAX_BODY_BYTES, may_scan=may_scan)
    except StrictJsonError as error:
        raise ProblemError(json_problem(error)) from None
    if not isinstance(members, dict):
        raise _invalid("", 'must be an object such as {"payload": {}}')
    if unknown := [name for name in members if name not in KNOWN_FIELDS]:
        errors: list[ErrorAt] = [
            {
                "pointer": f"/{name[:100]}",
                "detail": "is not a known field; put the handler's input inside payload",
            }
            for name in unknown[:20]
        ]
        detail = f"{errors[0]['pointer'][1:]} {errors[0]['detail']}. Kind and options stay as they were"
        raise ProblemError(problem("unknown-field", detail, errors=errors, extra={"known_fields": KNOWN_FIELDS}))
    if "payload" not in members:
        raise _invalid("/payload", "is missing; send the new input of the handler")
    return bytes(_payload_decoder.decode(body).payload)


def _invalid(pointer: str, detail: str) -> ProblemError:
    errors: list[ErrorAt] = [{"pointer": pointer, "detail": detail}]
    return ProblemError(problem("invalid-field", f"{pointer[1:] or 'the body'} {detail}", errors=errors))
