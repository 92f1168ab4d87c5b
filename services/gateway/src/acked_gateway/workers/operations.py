"""The routes of workers as the route table describes them, and the types of their responses."""

from typing import Annotated, Literal, TypedDict

from msgspec import Meta

from acked_common.api.operations import COMMANDS, JOBS
from acked_common.api.representations import Count, Instant
from acked_common.api.routes import JSON, ApiResponse, Operation, Parameter
from acked_common.model.principal import Permission


class Worker(TypedDict):
    """A worker that lives."""

    id: Annotated[str, Meta(description="Its name, which workers of two stacks on one database may share.")]
    instance: Annotated[str, Meta(description="Names this process alone.")]
    kinds: list[str]
    slots: Count
    running: Count
    finished: Annotated[int, Meta(ge=0, description="Attempts that were recorded since it started.")]
    version: str
    since: Instant
    seen_at: Instant


class Workers(TypedDict):
    """The workers that were seen lately."""

    workers: list[Worker]


class Draining(TypedDict):
    """The worker is told to take no more work."""

    id: str
    drain_requested: Literal[True]


LIST_WORKERS = Operation(
    id="listWorkers",
    path="/workers",
    tag=JOBS,
    permission=Permission.READ,
    of_all_tenants=True,
    summary="Workers that live",
    answers=(ApiResponse(description="Those that were seen within three renewals.", media={JSON: Workers}),),
    problems=("store-unreachable",),
)


DRAIN_WORKER = Operation(
    id="drainWorker",
    method="POST",
    path="/workers/{id}/drain",
    tag=COMMANDS,
    permission=Permission.OPERATE,
    of_all_tenants=True,
    summary="Let a worker end what it runs and leave",
    description="It takes no more jobs, gives back what does not end in time, and leaves; a new one takes its place.",
    parameters=(
        Parameter(name="id", place="path", type=str, description="Its id, or its instance.", example="worker-1"),
    ),
    answers=(ApiResponse(status=202, description="The worker is told.", media={JSON: Draining}),),
    problems=("store-unreachable", "ambiguous-worker"),
)
