"""Which containers Prometheus scrapes, from what `docker inspect` says. Pure.

A published port leads to any container of its service, so the targets are the containers' own addresses. Prometheus
reaches them from inside the stack's network, and on Linux from the machine itself.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from deploy.native.supervisor import SERVICES
from deploy.observed import TargetGroup, target_group

NETWORK = "data"
"""The network that all services share."""
_SERVICE = "com.docker.compose.service"


def container_targets(inspected: Iterable[Mapping[str, Any]], project: str, port: str) -> list[TargetGroup]:
    """Return a target for each running container of a service. Without a `port` for metrics there is none, because the
    port of the service itself accepts only its own host names."""
    groups = []
    for container in inspected:
        service = container["Config"]["Labels"].get(_SERVICE, "")
        network = container["NetworkSettings"]["Networks"].get(f"{project}_{NETWORK}") or {}
        address = network.get("IPAddress", "")
        if service in SERVICES and address and port not in ("", "0"):
            process = str(container["Name"]).lstrip("/")
            groups.append(target_group(f"{address}:{port}", service=service, process=process))
    return sorted(groups, key=lambda group: group["labels"]["process"])
