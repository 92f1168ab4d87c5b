"""Lists that come in pages, and the small reads. Pure."""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from acked_client.core import json_text
from acked_client.core.effects import Flow, Request
from acked_client.core.exchange import Session, exchange, fetch
from acked_client.core.jobs import path_of
from acked_client.model.errors import UnexpectedResponse
from acked_client.model.jobs import JobSummary, Step
from acked_client.model.lists import AttentionGroup, Batch, Kind
from acked_client.model.requests import JobFilter

T = TypeVar("T")


class Pages(Generic[T]):
    """A list that is read page by page. A page may be empty and not the last one."""

    def __init__(self, session: Session, path: str, query: Mapping[str, str], member: str, item: type[T]) -> None:
        self._session = session
        self._request = Request("GET", path, dict(query))
        self._member = member
        self._item = item
        self._token = ""
        self.is_done = False

    def next(self) -> Flow[list[T]]:
        """Return the items of the next page."""
        query = dict(self._request.query) | ({"page_token": self._token} if self._token else {})
        response = yield from exchange(self._session, Request("GET", self._request.path, query))
        members: dict[str, Any] = json_text.decode(response.body, dict, response.status)
        try:
            items = msgspec.convert(members.get(self._member), list[self._item])  # type: ignore[name-defined]
            self._token = msgspec.convert(members.get("next_page_token", ""), str)
        except msgspec.ValidationError as error:
            raise UnexpectedResponse(
                f"the page of {self._request.path} is not one of Acked: {error}", status=response.status
            ) from None
        self.is_done = not self._token
        return items


def jobs(session: Session, where: JobFilter | None, worker: str | None, page_size: int) -> Pages[JobSummary]:
    """Return the pages of a list of jobs, newest first."""
    query = {} if where is None else where.members()
    if worker is not None:
        query["worker"] = worker
    return Pages(session, "/jobs", query | {"page_size": str(page_size)}, "jobs", JobSummary)


def attention(session: Session, kind: str | None, snoozed: bool) -> Pages[AttentionGroup]:
    """Return the pages of the groups of failed jobs."""
    query = {"snoozed": "true" if snoozed else "false"} | ({} if kind is None else {"kind": kind})
    return Pages(session, "/attention", query, "groups", AttentionGroup)


def steps(session: Session, job_id: str, newest_first: bool) -> Pages[Step]:
    """Return the pages of the durable calls of a job."""
    query = {"order": "newest"} if newest_first else {}
    return Pages(session, path_of(job_id, "steps"), query, "steps", Step)


def batch(session: Session, name: str) -> Flow[Batch]:
    """Return the progress of a batch."""
    return (yield from fetch(session, Request("GET", f"/batches/{quote(name, safe='')}"), Batch))


class _Kinds(msgspec.Struct):
    kinds: list[Kind]


def kinds(session: Session) -> Flow[list[Kind]]:
    """Return the kinds that workers have registered."""
    return (yield from fetch(session, Request("GET", "/kinds"), _Kinds)).kinds
