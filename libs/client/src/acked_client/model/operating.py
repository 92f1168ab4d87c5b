"""Workers, single kinds, the audit and tokens as the services describe them. Pure."""

from datetime import datetime
from typing import Any

from msgspec import Struct

from acked_client.model.jobs import JobStatus
from acked_client.model.lists import Kind


class RunningJob(Struct, frozen=True, kw_only=True):
    """A job that a worker runs now."""

    id: str
    kind: str
    attempt: int
    started_at: datetime


class Worker(Struct, frozen=True, kw_only=True):
    """A live worker. `running_jobs` are the 20 that it has run longest, those of the tenant."""

    id: str
    instance: str
    kinds: list[str]
    slots: int
    running: int
    finished: int
    version: str
    since: datetime
    seen_at: datetime
    draining: bool
    running_jobs: list[RunningJob]


class Draining(Struct, frozen=True, kw_only=True):
    """A worker that was asked to leave."""

    id: str
    drain_requested: bool


class KindBacklog(Struct, frozen=True, kw_only=True):
    """The current jobs of a kind. `states` has only the states that occur."""

    kind: str
    states: dict[str, int]
    oldest_queued_at: datetime | None
    attention: int


class LimitUse(Struct, frozen=True, kw_only=True):
    """Running jobs that count towards a limit, and queued ones that wait for a place."""

    running: int
    held: int


class PastPause(Struct, frozen=True, kw_only=True):
    """A pause that is over."""

    since: datetime
    until: datetime


class ServedSchema(Struct, frozen=True, kw_only=True):
    """The JSON Schema of the payload in one version of a handler."""

    version: str
    schema: dict[str, Any]


class KindDetails(Kind, frozen=True, kw_only=True):
    """One kind with its workers and counts, which are None for other tenants than `default`."""

    is_served: bool
    payload_schemas: list[ServedSchema]
    is_payload_checked: bool
    past_pauses: list[PastPause]
    workers: list[Worker] | None
    backlog: KindBacklog | None
    limit_use: LimitUse | None


class ListedBatch(Struct, frozen=True, kw_only=True):
    """A batch in a list. At most 1,000 of its jobs are counted."""

    batch: str
    newest_at: datetime
    total: int
    total_is_exact: bool
    states: dict[str, int]


class AuditEntry(Struct, frozen=True, kw_only=True):
    """An act that a client requested. `target` names its object, such as `job`, `kind` or `filter`."""

    id: str
    at: datetime
    client: str
    token_id: str | None
    action: str
    target: dict[str, Any]
    reason: str | None = None
    count: int | None = None


class OwnToken(Struct, frozen=True, kw_only=True):
    """What the token of the client allows. `token_id` is None if the services require no tokens."""

    tenant: str
    client: str
    permissions: list[str]
    token_id: str | None
    expires_at: datetime | None


class ListedToken(Struct, frozen=True, kw_only=True):
    """An active token of the tenant, without its secret."""

    id: str
    client: str
    permissions: list[str]
    made_at: datetime
    expires_at: datetime | None


class Tokens(Struct, frozen=True, kw_only=True):
    """The own token, and the active tokens of its tenant. Without `operate` the list is empty."""

    own: OwnToken
    asks_for_tokens: bool
    is_complete: bool
    tokens: list[ListedToken]


class NewestStep(Struct, frozen=True, kw_only=True):
    """The durable call of a job that began last."""

    name: str
    key: Any
    call: str
    state: str
    at: datetime


class StepCounts(Struct, frozen=True, kw_only=True):
    """The numbers of a job's recorded durable calls and of its unread signals."""

    kept: int
    unread: int
    newest: NewestStep | None = None
    warned: str | None = None


class JobDetails(JobStatus, frozen=True, kw_only=True):
    """The status of a job with its payload. `steps` is None of a job without durable calls and signals."""

    payload: Any
    steps: StepCounts | None = None


class UnreadSignal(Struct, frozen=True, kw_only=True):
    """A signal that the handler has not taken. `by` is the client that sent it."""

    id: str
    name: str
    seq: int
    at: datetime
    by: str | None


class TakenSignal(UnreadSignal, frozen=True, kw_only=True):
    """A signal that the durable call `taken_by` has taken."""

    taken_at: datetime
    taken_by: str


class Signals(Struct, frozen=True, kw_only=True):
    """The signals of a job: the unread ones, oldest first, and the newest that were taken."""

    unread: list[UnreadSignal]
    taken: list[TakenSignal]
    received: int


class Readiness(Struct, frozen=True, kw_only=True):
    """Whether a service is ready. `parts` has the status of each dependency, `since` the start of each fault."""

    status: str
    parts: dict[str, str]
    since: dict[str, datetime] | None = None


class Probe(Struct, frozen=True, kw_only=True):
    """One probe of a service, without retries.

    `failure` is None if it responded; `readiness`, `version` and `server_at` (its clock, in whole seconds) are None
    where it did not say them. `took_s` is how long the request for its readiness took.
    """

    service: str
    url: str
    failure: str | None
    readiness: Readiness | None
    version: str | None
    server_at: datetime | None
    took_s: float
