"""The 404 of a service: names the service that does serve the path, or the path without its trailing slash."""

from collections.abc import Mapping, Sequence

from starlette.routing import BaseRoute, Route, WebSocketRoute

from acked_common.http.problems import Problem, problem

OF_INTAKE = ("/process",)
OF_GATEWAY = (
    *("/jobs", "/batches", "/workers", "/kinds", "/attention", "/bulk-actions", "/audit", "/timeseries"),
    *("/load-test", "/pages", "/ws"),
)
"""First parts of the paths that one service alone serves. Of `/kinds` only the list is served by both."""


class NotFound:
    """The 404s of one service. `others` holds the URL at which people reach the service of a first part."""

    def __init__(self, routes: Sequence[BaseRoute], others: Mapping[str, str]) -> None:
        self._routes = [route for route in routes if isinstance(route, Route | WebSocketRoute)]
        self._others = others

    def not_found(self, path: str) -> Problem:
        """The problem for a path that no route has."""
        detail = f"nothing is served at {path}"
        plain = path.rstrip("/")
        if plain and plain != path and any(route.path_regex.match(plain) for route in self._routes):
            return problem("not-found", f"{detail}; without the slash at its end it is: {plain}")
        url = self._others.get("/" + path.split("/")[1])
        if url is None:
            return problem("not-found", detail)
        url += plain
        if plain.startswith("/ws/"):
            url = url.replace("http", "ws", 1)
        return problem("not-found", f"{detail} by this service; send the request to {url}", extra={"url": url})
