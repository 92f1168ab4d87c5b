"""The deletion of what clients define under a name. Pure."""

from datetime import datetime
from typing import Protocol, TypeVar

from acked_client.core import json_text
from acked_client.core.effects import Flow, Request, Response
from acked_client.core.exchange import Session, exchange, fetch
from acked_client.model.problems import NotFound


class _Defined(Protocol):
    @property
    def made_at(self) -> datetime: ...


T = TypeVar("T", bound=_Defined)


def delete(session: Session, path: str, into: type[T]) -> Flow[T]:
    """Delete what has this path and return it as it was.

    A repetition would find nothing, or what was made since. So the client reads it first, and looks for it before it
    repeats the request.
    """
    before = yield from exchange(session, Request("GET", path))
    known = json_text.decode(before.body, into, before.status)

    def check() -> Flow[Response | None]:
        try:
            found = yield from fetch(session, Request("GET", path), into)
        except NotFound:
            return before
        return None if found.made_at == known.made_at else before

    response = yield from exchange(session, Request("DELETE", path), check=check)
    return json_text.decode(response.body, into, response.status)
