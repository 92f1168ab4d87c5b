"""Ask one process of a service whether it is ready, and a gateway for its workers."""

import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any

from deploy.native import rolling
from deploy.native.layout import Layout
from deploy.operator_token import OperatorToken

READY = frozenset({"ready", "degraded"})
NOT_STARTED = "not started yet"
ANSWERS_WITHIN_S = 3.0


def health_port(layout: Layout, part: str, pid: int) -> int | None:
    """Return the port of this one process, since its service's port may be shared; None until it has reported it."""
    for program in (part, rolling.other_of(part)):
        try:
            told = json.loads((layout.run_of(program) / f"{part}.json").read_text())
            # The file of an earlier process is out of date.
            if pid and told["pid"] == pid:
                return int(told["health_port"])
        except (OSError, ValueError, KeyError):
            continue
    return None


def readiness(layout: Layout, part: str, pid: int) -> str:
    """Return one of `READY`, or the problem."""
    port = health_port(layout, part, pid)
    if port is None:
        return NOT_STARTED
    try:
        status, body = _get(port, "/readyz")
    except ConnectionRefusedError:
        # It listens when it has started.
        return NOT_STARTED
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"does not respond ({type(error).__name__})"
    if status == 200:
        return str(body["status"])
    return "not ready: " + _wrong(body)


def why_degraded(layout: Layout, part: str, pid: int) -> str:
    """Return which parts a degraded service lacks, and why; empty if it is whole or does not respond."""
    port = health_port(layout, part, pid)
    try:
        return "" if port is None else _wrong(_get(port, "/readyz")[1])
    except (OSError, http.client.HTTPException, ValueError):
        return ""


def _wrong(body: Mapping[str, Any]) -> str:
    if "parts" not in body:
        # A problem, as of a process that has met a fault.
        return str(body.get("detail", body))
    return "; ".join(f"{name}: {text}" for name, text in body["parts"].items() if text != "ok")


def listed_workers(layout: Layout, gateway: str, pid: int, token: OperatorToken) -> set[str]:
    """Return the names of the workers that one gateway process lists; none while it does not respond."""
    body = told_by(layout, gateway, pid, token, "/workers")
    return set() if body is None else {worker["id"] for worker in body["workers"]}


def told_by(layout: Layout, gateway: str, pid: int, token: OperatorToken, path: str) -> Any:
    """Return what one gateway process responds to a GET; None while that is no 200."""
    port = health_port(layout, gateway, pid)
    if port is None:
        return None
    try:
        status, body = token.asked(lambda headers: _get(port, path, headers))
    except (OSError, http.client.HTTPException, ValueError):
        return None
    return body if status == 200 else None


def _get(port: int, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWERS_WITHIN_S)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def listens(port: int) -> bool:
    """Return whether a process accepts connections on this port of loopback."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
