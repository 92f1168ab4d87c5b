"""The routes of pages as the route table describes them."""

from acked_common.api.routes import HTML, ApiResponse, Operation, Parameter
from acked_gateway.pages.assets import MEDIA_TYPES

PAGES_TAG = "Pages"

ASSET_MEDIA_TYPES = tuple(sorted({media_type.partition(";")[0] for media_type in MEDIA_TYPES.values()}))


GET_INDEX = Operation(
    id="getIndexPage",
    path="/",
    tag=PAGES_TAG,
    permission=None,
    summary="The dashboard",
    description=(
        "Browsers get a page at each address of the gateway that people read, such as `/jobs` and `/jobs/{id}`, when "
        "they prefer `text/html`. The pages are the same for everyone; their requests need a token."
    ),
    answers=(ApiResponse(description="A page for people.", media={HTML: str}),),
)


GET_ASSET = Operation(
    id="getPagePart",
    path="/pages/{name}",
    tag=PAGES_TAG,
    permission=None,
    summary="What pages consist of",
    description="Pages themselves have addresses of their own.",
    parameters=(Parameter(name="name", place="path", type=str, description="The file's name.", example="app.css"),),
    answers=(ApiResponse(description="The file.", media=dict.fromkeys(ASSET_MEDIA_TYPES, str)),),
)


GET_ICON = Operation(
    id="getIcon",
    path="/favicon.ico",
    tag=PAGES_TAG,
    permission=None,
    summary="The icon",
    description="Browsers ask for it at each address that is no page of the dashboard.",
    answers=(ApiResponse(description="The icon.", media={"image/svg+xml": str}),),
)
