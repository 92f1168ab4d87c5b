"""Store the settings with which the running containers were started."""

import json
from collections.abc import Collection, Iterable
from pathlib import Path

from deploy.docker.project import PROXIED, Project
from deploy.native.supervisor import SERVICES
from deploy.private_file import write_private


def running(project: Project, stored_names: Collection[str]) -> dict[str, str] | None:
    """Return the settings with which the containers were last started; None for a stack that is down."""
    try:
        found: dict[str, str] = json.loads(_file(project).read_text())
    except (OSError, ValueError):
        return _told_containers(project, stored_names)
    return found


def store_running(project: Project, stored_names: Iterable[str]) -> None:
    """Store the settings with which containers are started from now on."""
    settings = {name: value for name in stored_names if (value := project.asked.get(name))}
    write_private(_file(project), json.dumps(settings))


def forget_running(project: Project) -> None:
    """Remove them: the stack is down."""
    _file(project).unlink(missing_ok=True)


def _file(project: Project) -> Path:
    return project.state / "running.json"


def _told_containers(project: Project, stored_names: Collection[str]) -> dict[str, str] | None:
    """Return the settings of a stack that an earlier version started, which wrote no such file."""
    found: dict[str, str] = {}
    for container in (ids := [one for role in SERVICES for one in project.containers(role)]):
        told = json.loads(project.docker("inspect", "--format={{json .Config.Env}}", container))
        found |= {name: value for name, _, value in (pair.partition("=") for pair in told) if name in stored_names}
    # What compose.yaml says itself.
    hosts = [host for host in found.get("ACKED_ALLOWED_HOSTS", "").split(",") if host not in (*PROXIED, "")]
    found["ACKED_ALLOWED_HOSTS"] = ",".join(hosts)
    own = ("ACKED_PUBLIC_GATEWAY_URL", "ACKED_PUBLIC_INTAKE_URL", "ACKED_PUBLISHED_ON_LOOPBACK")
    return {name: value for name, value in found.items() if value and name not in own} if ids else None
