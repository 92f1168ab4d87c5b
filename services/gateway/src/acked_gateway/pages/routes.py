"""The index page and the parts of all pages."""

from starlette.requests import Request
from starlette.responses import Response

from acked_common.api.routes import ApiRoute
from acked_common.http.problems import ProblemError, problem
from acked_gateway.pages import ASSETS, load_page
from acked_gateway.pages.operations import GET_ASSET, GET_INDEX


def page(name: str, request: Request, public_intake_url: str, **values: str) -> Response:
    """Render one of `PAGES` or `ASSETS` for the host that the request names; `values` as `load_page` takes them."""
    body, media_type = load_page(name, intake_url=public_intake_url, host=request.url.netloc, **values)
    return Response(body, media_type=media_type)


def page_routes(public_intake_url: str) -> list[ApiRoute]:
    """Serve the index page and the assets of all pages."""

    async def index(request: Request) -> Response:
        return page("index.html", request, public_intake_url)

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in ASSETS:
            raise ProblemError(
                problem("not-found", "no part of a page has this name; pages have addresses of their own")
            )
        return page(name, request, public_intake_url)

    return [ApiRoute(index, GET_INDEX), ApiRoute(asset, GET_ASSET)]
