"""The route of tokens as the route table describes it, and the types of its responses."""

from typing import Annotated, TypedDict

from msgspec import Meta

from acked_common.api.operations import COMMANDS
from acked_common.api.representations import Instant
from acked_common.api.routes import JSON, ApiResponse, Operation, with_page
from acked_common.model.principal import Permission

MAX_TOKENS = 1000


class OwnToken(TypedDict):
    """Who sends the request, and what it may do."""

    tenant: str
    client: str
    permissions: list[Permission]
    token_id: Annotated[str | None, Meta(description="Null where the services ask for no token.")]
    expires_at: Annotated[Instant | None, Meta(description="Null for a token without an end.")]


class Token(TypedDict):
    """An active token, without its secret, which is not stored."""

    id: str
    client: str
    permissions: list[Permission]
    made_at: Instant
    expires_at: Instant | None


class Tokens(TypedDict):
    """The own token, and those of the tenant."""

    own: OwnToken
    asks_for_tokens: Annotated[bool, Meta(description="False where whoever reaches the port may do everything.")]
    tokens: Annotated[
        list[Token],
        Meta(description=f"The tenant's active tokens by client, at most {MAX_TOKENS:,}; empty without `operate`."),
    ]
    is_complete: Annotated[bool, Meta(description="False if the tenant has more active tokens than are listed.")]


LIST_TOKENS = with_page(
    Operation(
        id="listTokens",
        path="/tokens",
        tag=COMMANDS,
        permission=Permission.READ,
        summary="What the presented token allows, and the active tokens of its tenant",
        description="Tokens are made and revoked at the command line. No route returns a secret.",
        answers=(ApiResponse(description="The own token, and those of the tenant.", media={JSON: Tokens}),),
        problems=("store-unreachable",),
    )
)
