"""The names that users depend on, one per line: they stay from one version to the next.

`PYTHONPATH=tests:. .venv/bin/python -m support.public_names` adds new ones to the file; it removes none.
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

import acked
import acked_client
from acked import kinds
from acked_common.broker.rabbitmq import topology
from acked_common.http.problem_catalogue import CATALOGUE
from acked_common.model.lifecycle import Reason, State
from acked_common.model.principal import Permission
from acked_common.runtime.env import Env
from acked_gateway import app as gateway
from acked_gateway.settings import read_settings as read_gateway_settings
from acked_intake import app as intake
from acked_intake.settings import read_settings as read_intake_settings
from support.api_documents import operations
from support.asgi import call

ROOT = Path(__file__).resolve().parents[2]
NOTED = ROOT / "tests" / "architecture" / "public_names.txt"
COMMAND = "PYTHONPATH=tests:. .venv/bin/python -m support.public_names"
PACKAGES = ("acked", "acked_cli", "acked_client", "acked_common", "acked_gateway", "acked_intake", "acked_worker")


async def public_names() -> set[str]:
    """Return all public names of this version."""
    names = {*_of_python(), *_of_operators()}
    for service, application in _applications().items():
        document = (await call(application, "GET", "/openapi.json")).json
        names |= {f"{sort} {service} {name}" for sort, name in _of_document(document)}
        sockets = (route.path for route in application.routes if isinstance(route, WebSocketRoute))
        names |= {f"route {service} WEBSOCKET {path}" for path in sockets}
    return names


def _applications() -> dict[str, Starlette]:
    return {
        "gateway": gateway.create_app(read_gateway_settings(Env({}))),
        "intake": intake.create_app(read_intake_settings(Env({}))),
    }


def _of_document(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the names in an API document, each with its category."""
    for method, path, operation in operations(document):
        route = f"{method} {path}"
        yield "route", route
        yield "operation", operation["operationId"]
        for parameter in operation.get("parameters", ()):
            yield "parameter", f"{route} {parameter['in']} {parameter['name']}"
        for status, response in operation["responses"].items():
            if status < "400":
                yield "response", f"{route} {status}"
            for name in response.get("headers", ()):
                yield "header", f"{route} {status} {name}"
    for name, schema in document["components"]["schemas"].items():
        for field in _fields(schema):
            yield "field", f"{name}.{field}"


def _fields(schema: dict[str, Any]) -> Iterator[str]:
    yield from schema.get("properties", ())
    for part in schema.get("allOf", ()):
        yield from _fields(part)


def _of_python() -> Iterator[str]:
    yield from (f"import acked.{name}" for name in acked.__all__)
    yield from (f"handler {name}" for name in inspect.signature(acked.handler).parameters)
    for found in (acked.Context, acked.KindOptions):
        yield from (f"import acked.{found.__name__}.{name}" for name in dir(found) if not name.startswith("_"))
    yield from (f"import acked_client.{name}" for name in acked_client.__all__)
    for found in (acked_client.Acked, acked_client.Handle, acked_client.BulkHandle, acked_client.ScheduleHandle):
        names = [name for name in dir(found) if not name.startswith("_")]
        yield from (f"import acked_client.{found.__name__}.{name}" for name in names)
    yield from (f"kind {module.rpartition('.')[2]}" for module in kinds.SHIPPED)


def _of_operators() -> Iterator[str]:
    yield from (f"problem {name} {entry.status}" for name, entry in CATALOGUE.items())
    yield from (f"state {state.value}" for state in State)
    yield from (f"reason {reason.value}" for reason in Reason)
    yield from (f"permission {permission.value}" for permission in Permission)
    yield from (f"queue {name}" for name in (topology.DEAD_QUEUE, topology.lane_queue("<lane>")))
    yield f"exchange {topology.COMMANDS_EXCHANGE}"
    # A test checks the document against the code.
    yield from (f"setting {name}" for name in re.findall(r"`(ACKED_[A-Z_]+)`", (ROOT / "docs/settings.md").read_text()))
    recipes = re.findall(r"^((?:\[.*\]\n)*)([a-z][a-z-]*)(?: [^:=\n]*)?:(?!=)", (ROOT / "justfile").read_text(), re.M)
    yield from (f"recipe {name}" for marks, name in recipes if "[private]" not in marks)
    for package in PACKAGES:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    yield from (
        f"metric {family.name} {family.type}" for family in REGISTRY.collect() if family.name.startswith("acked_")
    )


def noted() -> set[str]:
    """Return the names in the file."""
    return set(NOTED.read_text().splitlines())


if __name__ == "__main__":
    import asyncio

    found = asyncio.run(public_names())
    NOTED.write_text("".join(f"{name}\n" for name in sorted(found | (noted() if NOTED.exists() else set()))))
