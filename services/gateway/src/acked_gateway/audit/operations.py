"""The route of the audit as the route table describes it, and the types of its responses."""

from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from acked_common.api.list_parameters import page_parameters
from acked_common.api.operations import COMMANDS
from acked_common.api.representations import Count, Instant
from acked_common.api.routes import JSON, ApiResponse, Link, Operation, Parameter
from acked_common.model.audit import KEPT_DAYS, AuditAction
from acked_common.model.names import CLIENT_NAME, whole
from acked_common.model.principal import Permission

DEFAULT_PAGE = 50
MAX_PAGE = 200


class AuditLine(TypedDict):
    """One act that was asked for."""

    id: str
    at: Instant
    client: str
    token_id: Annotated[
        str | None, Meta(description="Null where the services ask for no token, and for acts at the command line.")
    ]
    action: Annotated[str, Meta(examples=[action.value for action in AuditAction])]
    target: Annotated[dict[str, Any], Meta(description="On what, such as `job`, `kind`, `worker` or `filter`.")]
    reason: NotRequired[Annotated[str, Meta(description="What the person gave as the reason.")]]
    count: NotRequired[Annotated[Count, Meta(description="How many jobs it concerns, where that was known.")]]


class AuditList(TypedDict):
    """A page of the audit, newest first."""

    entries: list[AuditLine]
    next_page_token: Annotated[str, Meta(description="Gives the next page; empty at the end of the list.")]


GET_AUDIT = Operation(
    id="listAudit",
    path="/audit",
    tag=COMMANDS,
    permission=Permission.READ,
    summary="Who did what, newest first",
    description=(
        "An entry is written before its act, so it tells what was asked for; the history of the job, or the bulk "
        "action, tells what became of it. A request that was refused before anything was written has no entry. A "
        f"tenant sees its own entries, for {KEPT_DAYS} days."
    ),
    parameters=(
        Parameter(name="action", place="query", type=AuditAction, description="Only entries of this action."),
        Parameter(
            name="client",
            place="query",
            type=Annotated[str, Meta(pattern=whole(CLIENT_NAME))],
            description="Only what this client asked for.",
        ),
        Parameter(
            name="since",
            place="query",
            type=str,
            description="Only entries from this instant on: RFC 3339, or back from now such as `15m`, `1h`, `8d`.",
            example="8d",
        ),
        Parameter(
            name="until",
            place="query",
            type=str,
            description="Only entries before this instant; as `since`.",
            example="1h",
        ),
        *page_parameters("entries", default=DEFAULT_PAGE, most=MAX_PAGE),
    ),
    answers=(
        ApiResponse(
            description="A page of the audit.",
            media={JSON: AuditList},
            links={
                "next": Link(
                    operation="listAudit",
                    parameters={"page_token": "$response.body#/next_page_token"},
                    description="The next page, where the token is not empty; with the same filters.",
                )
            },
        ),
    ),
    problems=("invalid-field", "too-many-reads", "store-unreachable"),
)
