"""The 404 of a service. It names the service that serves the path, or the path without its trailing slash."""

from collections.abc import Mapping, Sequence

from starlette.routing import BaseRoute, Route, WebSocketRoute

from acked_common.http.problems import Problem, problem

OF_INTAKE = ("/process",)
OF_GATEWAY = (
    *("/jobs", "/batches", "/workers", "/kinds", "/attention", "/bulk-actions", "/audit", "/timeseries"),
    *("/backlog", "/callbacks", "/callback-endpoints", "/callback-secrets", "/schedules", "/tokens", "/load-test"),
    *("/pages", "/favicon.ico", "/ws"),
)
"""First segments of the paths that only one service serves. Both serve the list at `/kinds`."""


class NotFound:
    """The 404s of one service. `others` has the public URL of another service by first path segment."""

    def __init__(self, routes: Sequence[BaseRoute], others: Mapping[str, str]) -> None:
        self._routes = [route for route in routes if isinstance(route, Route | WebSocketRoute)]
        self._others = others

    def not_found(self, path: str) -> Problem:
        """Return the problem of a path without a route."""
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
