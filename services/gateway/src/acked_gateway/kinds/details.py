"""`GET /kinds/{kind}` as the route table describes it: one kind with all that is known of it."""

from typing import Annotated, Any, TypedDict

from msgspec import Meta

from acked_common.api.operations import JOBS, Kind
from acked_common.api.representations import Count, Instant
from acked_common.api.routes import JSON, ApiResponse, Operation, Parameter, with_page
from acked_common.background.census import CensusLoop
from acked_common.background.limit_looks import LimitLooks
from acked_common.background.schema_cache import served_schemas
from acked_common.background.worker_cache import WorkerCache
from acked_common.model.instants import rfc3339
from acked_common.model.pauses import PAUSES_KEPT, KindPauses
from acked_common.model.payload_schemas import SCHEMAS_KEPT, parsed
from acked_common.model.principal import DEFAULT_TENANT, Permission, Principal
from acked_common.store.census import KindCount
from acked_common.store.limits import HELD_COUNTED
from acked_common.store.records import KindRecord
from acked_gateway.kinds.backlog import KindBacklog, backlog_fields
from acked_gateway.workers.operations import Worker
from acked_gateway.workers.routes import worker_fields


class PausedOnce(TypedDict):
    """A pause that is over."""

    since: Instant
    until: Instant


class ServedSchema(TypedDict):
    """What one version of the handler takes."""

    version: Annotated[str, Meta(description="Of the handler.")]
    schema: Annotated[dict[str, Any], Meta(description="JSON Schema (2020-12) of the payload.")]


class LimitUsed(TypedDict):
    """How much of a limit is used, over all tenants."""

    running: Annotated[Count, Meta(description="Running jobs, which have a place.")]
    held: Annotated[Count, Meta(description=f"Queued jobs that wait for a place, counted up to {HELD_COUNTED:,}.")]


class KindDetails(Kind):
    """A kind with its pauses, and for clients of the tenant `default` with what serves it and what waits."""

    payload_schemas: Annotated[
        list[ServedSchema],
        Meta(
            max_length=SCHEMAS_KEPT,
            description="Those of the live workers that serve it, the newest first; without one, that of its last "
            "registration. Intake accepts a payload that one of them takes.",
        ),
    ]
    is_payload_checked: Annotated[
        bool, Meta(description="False without schemas, and while a live worker serves the kind without one.")
    ]
    is_served: Annotated[bool, Meta(description="Whether a live worker serves it.")]
    past_pauses: Annotated[list[PausedOnce], Meta(max_length=PAUSES_KEPT, description="The newest ones, oldest first.")]
    workers: Annotated[
        list[Worker] | None,
        Meta(description="Live workers that serve it; `running_jobs` are those of the kind. Null for other tenants."),
    ]
    backlog: Annotated[
        KindBacklog | None,
        Meta(description="As in `GET /backlog`. Null for other tenants, and if there was no count in the last minute."),
    ]
    limit_use: Annotated[
        LimitUsed | None, Meta(description="At most a second old. Null for other tenants, and without a limit.")
    ]


GET_KIND = with_page(
    Operation(
        id="getKind",
        path="/kinds/{kind}",
        tag=JOBS,
        permission=Permission.READ,
        summary="A kind of work: options, pauses, workers, counts",
        parameters=(
            Parameter(name="kind", place="path", type=str, description="The name of the kind.", example="noop"),
        ),
        answers=(ApiResponse(description="The kind.", media={JSON: KindDetails}),),
        problems=("store-unreachable",),
    )
)


class KindDetailsParts:
    """The sources of a kind's details, in addition to its record."""

    def __init__(self, workers: WorkerCache, census: CensusLoop, limits: LimitLooks) -> None:
        self._workers = workers
        self._census = census
        self._limits = limits

    async def fields(self, record: KindRecord, kind: Kind, pauses: KindPauses, reader: Principal) -> KindDetails:
        """Return the details of a kind as a reader sees it. Raises `StoreError`."""
        name = kind["kind"]
        serving = [worker for worker in await self._workers.workers() if name in worker.kinds]
        served = served_schemas(record, serving)
        is_own = reader.tenant == DEFAULT_TENANT
        return {
            **kind,
            "payload_schemas": [{"version": one.version, "schema": dict(parsed(one.text))} for one in served.schemas],
            "is_payload_checked": served.is_checked,
            "is_served": bool(serving),
            "past_pauses": [{"since": rfc3339(one.from_at), "until": rfc3339(one.to_at)} for one in pauses.past],
            "workers": [_of_kind(worker_fields(one, reader.tenant), name) for one in serving] if is_own else None,
            "backlog": self._backlog(name) if is_own else None,
            "limit_use": await self._use(kind) if is_own else None,
        }

    async def _use(self, kind: Kind) -> LimitUsed | None:
        found = None if kind["limit"] is None else await self._limits.use(kind["kind"])
        return None if found is None else LimitUsed(running=found.running, held=found.held)

    def _backlog(self, name: str) -> KindBacklog | None:
        counted = self._census.fresh()
        if counted is None:
            return None
        found = next((kind for kind in counted.kinds if kind.kind == name), None)
        return backlog_fields(found or KindCount(name, {}, None, 0))


def _of_kind(worker: Worker, kind: str) -> Worker:
    worker["running_jobs"] = [job for job in worker["running_jobs"] if job["kind"] == kind]
    return worker
