"""Who calls: the client that a request's credentials name, its tenant, and what it may do. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from msgspec import Struct

DEFAULT_TENANT = "default"
SCOPE_KEY = "acked.principal"
"""Where the guards leave the principal in the ASGI scope."""


class Permission(StrEnum):
    """What a token allows: to send work, to read jobs, to move jobs by hand, to report as a worker."""

    SUBMIT = "submit"
    READ = "read"
    OPERATE = "operate"
    WORKER = "worker"


@dataclass(frozen=True, slots=True)
class Principal:
    """A client of one tenant."""

    tenant: str
    client: str
    permissions: frozenset[Permission]


class Actor(Struct, frozen=True):
    """Who moved a job by hand, as its history and the audit name it."""

    client: str
    token_id: str | None = None
    """None where the services ask for no token."""
    via: str = "api"
    """`api`, or `bulk:` and the id of the bulk action."""


class Operator(Struct, frozen=True):
    """Who asks for a command: an actor of one tenant."""

    tenant: str
    actor: Actor


LOCAL = Principal(DEFAULT_TENANT, "local", frozenset(Permission) - {Permission.WORKER})
"""Everybody, where the services ask for no token because only this machine reaches them."""

LOCAL_OPERATOR = Operator(LOCAL.tenant, Actor(LOCAL.client))


def principal_of(scope: Mapping[str, Any]) -> Principal:
    """The principal of a request or a WebSocket from its ASGI scope."""
    found: Principal = scope.get(SCOPE_KEY, LOCAL)
    return found
