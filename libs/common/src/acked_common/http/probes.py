"""Health checks of load balancers and orchestrators. Pure.

They call by the address of a pod or a container, so their `Host` is no name of ours, and HAProxy's default check is
`OPTIONS / HTTP/1.0` without one. `/healthz` and `/readyz` change nothing, so they respond to any `Host`; to a name that
is not ours they respond with the status alone.
"""

from collections.abc import MutableMapping
from typing import Any

PROBE_PATHS = frozenset({"/healthz", "/readyz"})
STRANGER = "acked.stranger"
"""In the scope of a probe: its `Host` is no name of this server."""


def as_probe(scope: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The scope of an OPTIONS request as a GET of health, where it is a probe: HTTP/1.0, of a health path or of `/`.

    Browsers and clients of the API speak HTTP/1.1; for them OPTIONS stays what the route says.
    """
    path = scope["path"]
    is_health = path in PROBE_PATHS
    if scope.get("http_version") != "1.0" or not (is_health or path in ("/", "*")):
        return scope
    path = path if is_health else "/healthz"
    return {**scope, "method": "GET", "path": path, "raw_path": path.encode()}
