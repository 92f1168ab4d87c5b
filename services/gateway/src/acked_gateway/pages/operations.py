"""The routes of pages as the route table describes them."""

from acked_common.api.routes import HTML, ApiResponse, Operation, Parameter
from acked_gateway.pages import ASSET_MEDIA_TYPES

PAGES_TAG = "Pages"


GET_INDEX = Operation(
    id="getIndexPage",
    path="/",
    tag=PAGES_TAG,
    permission=None,
    summary="The page to begin with",
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
