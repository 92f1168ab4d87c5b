"""The route of the audit as the route table describes it, and the types of its responses."""

from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from acked_common.api.list_parameters import NextPageToken, next_page, page_parameters
from acked_common.api.operations import COMMANDS
from acked_common.api.representations import Count, Instant
from acked_common.api.routes import JSON, ApiResponse, Operation, Parameter, with_page
from acked_common.model.audit import KEPT_DAYS, AuditAction
from acked_common.model.names import CLIENT_NAME, KIND_NAME, whole
from acked_common.model.principal import Permission

DEFAULT_PAGE = 50
MAX_PAGE = 200

_ID = Annotated[str, Meta(extra_json_schema={"format": "uuid"})]
_KIND = Annotated[str, Meta(pattern=whole(KIND_NAME))]
_CLIENT = Annotated[str, Meta(pattern=whole(CLIENT_NAME))]


class AuditLine(TypedDict):
    """One act of an operator."""

    id: str
    at: Instant
    client: str
    token_id: Annotated[
        str | None, Meta(description="Null if the services require no tokens, and for acts at the command line.")
    ]
    action: Annotated[str, Meta(examples=[action.value for action in AuditAction])]
    target: Annotated[
        dict[str, Any], Meta(description="The object of the act, such as `job`, `kind`, `worker` or `filter`.")
    ]
    reason: NotRequired[Annotated[str, Meta(description="The reason in the request.")]]
    count: NotRequired[Annotated[Count, Meta(description="The number of jobs that the act concerns, if known.")]]


class AuditList(TypedDict):
    """A page of the audit, newest first."""

    entries: list[AuditLine]
    next_page_token: NextPageToken


GET_AUDIT = with_page(
    Operation(
        id="listAudit",
        path="/audit",
        tag=COMMANDS,
        permission=Permission.READ,
        summary="The acts of operators, newest first",
        description=(
            "An entry is written before its act, so it records the request; the history of the job, or the bulk "
            "action, records the outcome. A request that is refused before any write has no entry. "
            f"A tenant sees its own entries, for {KEPT_DAYS} days."
        ),
        parameters=(
            Parameter(name="action", place="query", type=AuditAction, description="Only entries of this action."),
            Parameter(
                name="client",
                place="query",
                type=_CLIENT,
                description="Only acts of this client.",
            ),
            Parameter(
                name="job",
                place="query",
                type=_ID,
                description=(
                    "Only acts on this job alone; a bulk action has one entry for all of its jobs. At most one of "
                    "`job`, `bulk_action` and `kind`, and none of them with `action` or `client`."
                ),
            ),
            Parameter(
                name="bulk_action",
                place="query",
                type=_ID,
                description="Only entries of this bulk action: its order, and its abort. As `job`.",
            ),
            Parameter(
                name="kind",
                place="query",
                type=_KIND,
                description="Only acts on this kind: pauses and limits. As `job`.",
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
                links={"next": next_page("listAudit")},
            ),
        ),
        problems=("invalid-field", "too-many-reads", "store-unreachable"),
    )
)
