"""Health checks of load balancers and orchestrators. Pure.

Probes use the address of a pod or a container, so their `Host` is not a name of the server. HAProxy's default check is
`OPTIONS / HTTP/1.0` without a `Host`. `/healthz` and `/readyz` change nothing, so they accept any `Host`; for a foreign
one they return only the status.
"""

from collections.abc import MutableMapping
from typing import Any

PROBE_PATHS = frozenset({"/healthz", "/readyz"})
STRANGER = "acked.stranger"
"""Key in the scope of a probe whose `Host` is not a name of this server."""


def as_probe(scope: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return the scope of a GET of health for an OPTIONS probe: HTTP/1.0, for a health path or `/`.

    Browsers and API clients use HTTP/1.1; their OPTIONS requests are left to the route.
    """
    path = scope["path"]
    is_health = path in PROBE_PATHS
    if scope.get("http_version") != "1.0" or not (is_health or path in ("/", "*")):
        return scope
    path = path if is_health else "/healthz"
    return {**scope, "method": "GET", "path": path, "raw_path": path.encode()}
