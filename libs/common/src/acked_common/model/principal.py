"""The principal of a request: client, tenant and permissions. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from msgspec import Struct

DEFAULT_TENANT = "default"
SCOPE_KEY = "acked.principal"
"""The key of the principal in the ASGI scope."""


class Permission(StrEnum):
    """The permissions of a token: submit jobs, read jobs, operate on jobs, connect as a worker, signal jobs."""

    SUBMIT = "submit"
    READ = "read"
    OPERATE = "operate"
    WORKER = "worker"
    SIGNAL = "signal"


@dataclass(frozen=True, slots=True)
class Principal:
    """A client of one tenant."""

    tenant: str
    client: str
    permissions: frozenset[Permission]


class Actor(Struct, frozen=True):
    """The actor of an act, as the history of a job and the audit name it."""

    client: str
    token_id: str | None = None
    """None if the services require no tokens."""
    via: str = "api"
    """`api`, or `bulk:` and the id of the bulk action."""


class Operator(Struct, frozen=True):
    """An actor of one tenant that sends a command."""

    tenant: str
    actor: Actor


LOCAL = Principal(DEFAULT_TENANT, "local", frozenset(Permission) - {Permission.WORKER})
"""Every client, if the services require no tokens because only this machine reaches them."""

LOCAL_OPERATOR = Operator(LOCAL.tenant, Actor(LOCAL.client))


def principal_of(scope: Mapping[str, Any]) -> Principal:
    """Return the principal of a request or a WebSocket from its ASGI scope."""
    found: Principal = scope.get(SCOPE_KEY, LOCAL)
    return found
