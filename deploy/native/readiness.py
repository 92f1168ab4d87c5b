"""Asks a service whether it is ready."""

import http.client
import json

from deploy.native.layout import Layout
from deploy.native.listeners import listens

READY = frozenset({"ready", "degraded"})
ANSWERS_WITHIN_S = 3.0


def health_port(layout: Layout, part: str, pid: int) -> int | None:
    """Where the process of a part answers `/readyz`; None while it has not told, or does not listen."""
    role = part.split("-", 1)[0]
    if role == "worker":
        try:
            told = json.loads((layout.run / f"{part}.json").read_text())
            # What an earlier process has told is out of date.
            return int(told["health_port"]) if told["pid"] == pid else None
        except (OSError, ValueError, KeyError):
            return None
    port = layout.ports.gateway if role == "gateway" else layout.ports.intake
    # Several processes may share the port: the answer of another says nothing of this one.
    return port if pid and listens(pid, port) else None


def readiness(layout: Layout, part: str, pid: int) -> str:
    """One of `READY`, or what is wrong."""
    port = health_port(layout, part, pid)
    if port is None:
        return "not started yet"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWERS_WITHIN_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"does not answer ({type(error).__name__})"
    finally:
        connection.close()
    if answer.status == 200:
        return str(body["status"])
    return "not ready: " + "; ".join(f"{name}: {text}" for name, text in body["parts"].items() if text != "ok")
