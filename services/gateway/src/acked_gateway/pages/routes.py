"""The index page and the assets of all pages over HTTP."""

import re

from starlette.requests import Request
from starlette.responses import Response

from acked_common.api.pages import Page
from acked_common.api.routes import ApiRoute
from acked_common.http.problems import ProblemError, problem
from acked_gateway.pages.assets import Asset, find
from acked_gateway.pages.operations import GET_ASSET, GET_ICON, GET_INDEX

_ICON = "icon.svg"
_ACCEPTS_GZIP = re.compile(r"(?:^|,)\s*(?:x-)?gzip\s*(?:;\s*q=(?!0(?:\.0*)?\s*(?:,|$))[^,]*)?(?:,|$)", re.IGNORECASE)
_IMMUTABLE = "public, max-age=31536000, immutable"
_REVALIDATED = "no-cache"


def page_routes(page: Page) -> list[ApiRoute]:
    """Serve the index page, the assets and the icon."""

    async def index(request: Request) -> Response:
        return page(request)

    async def asset(request: Request) -> Response:
        found = find(request.path_params["name"])
        if found is None:
            raise ProblemError(
                problem("not-found", "no part of a page has this name; pages have addresses of their own")
            )
        return _response(request, *found)

    async def icon(request: Request) -> Response:
        found = find(_ICON)
        assert found is not None  # noqa: S101 - a file of the package
        return _response(request, *found)

    return [ApiRoute(index, GET_INDEX), ApiRoute(asset, GET_ASSET), ApiRoute(icon, GET_ICON)]


def _response(request: Request, asset: Asset, is_versioned: bool) -> Response:
    headers = {"Cache-Control": _IMMUTABLE if is_versioned else _REVALIDATED, "Vary": "Accept-Encoding"}
    if not _ACCEPTS_GZIP.search(request.headers.get("accept-encoding", "")):
        return Response(asset.body, media_type=asset.media_type, headers=headers)
    headers["Content-Encoding"] = "gzip"
    return Response(asset.compressed, media_type=asset.media_type, headers=headers)
