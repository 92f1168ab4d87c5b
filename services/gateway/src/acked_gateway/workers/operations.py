"""The routes of workers as the route table describes them, and the types of their responses."""

from typing import Annotated, Literal, TypedDict

from msgspec import Meta

from acked_common.api.operations import COMMANDS, JOBS
from acked_common.api.representations import Count, Instant, JobId
from acked_common.api.routes import JSON, ApiResponse, Operation, Parameter, with_page
from acked_common.model.principal import Permission
from acked_common.store.records import RUNNING_JOBS_KEPT


class WorkersJob(TypedDict):
    """A job that a worker runs."""

    id: JobId
    kind: str
    attempt: Annotated[int, Meta(ge=1)]
    started_at: Instant


class Worker(TypedDict):
    """A live worker."""

    id: Annotated[str, Meta(description="Its name, which workers of two stacks on one database may share.")]
    instance: Annotated[str, Meta(description="Identifies this process.")]
    kinds: list[str]
    slots: Count
    running: Count
    finished: Annotated[int, Meta(ge=0, description="Attempts that were recorded since it started.")]
    version: str
    since: Instant
    seen_at: Instant
    draining: Annotated[bool, Meta(description="Whether an operator has asked it to leave.")]
    running_jobs: Annotated[
        list[WorkersJob],
        Meta(
            max_length=RUNNING_JOBS_KEPT,
            description=f"Of the {RUNNING_JOBS_KEPT} jobs that it runs longest, those of the tenant, oldest first.",
        ),
    ]


class Workers(TypedDict):
    """The workers that refreshed their documents recently."""

    workers: list[Worker]


class Draining(TypedDict):
    """The drain of the worker was requested."""

    id: str
    drain_requested: Literal[True]


LIST_WORKERS = with_page(
    Operation(
        id="listWorkers",
        path="/workers",
        tag=JOBS,
        permission=Permission.READ,
        of_all_tenants=True,
        summary="Live workers",
        answers=(
            ApiResponse(
                description="The workers that refreshed their documents within three renewals.", media={JSON: Workers}
            ),
        ),
        problems=("store-unreachable",),
    )
)


DRAIN_WORKER = Operation(
    id="drainWorker",
    method="POST",
    path="/workers/{id}/drain",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    of_all_tenants=True,
    summary="Drain a worker",
    description="The worker claims no more jobs, releases those that do not end in time, and exits. A new one starts.",
    parameters=(
        Parameter(name="id", place="path", type=str, description="Its id, or its instance.", example="worker-1"),
    ),
    answers=(ApiResponse(status=202, description="The drain was requested.", media={JSON: Draining}),),
    problems=("store-unreachable", "ambiguous-worker"),
)
