"""OWNER of the frames of the feed (docs/feed.md) as the client reads and writes them. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from acked_client.model.jobs import JobEvent, Progress, Waits

IDS_OF_A_SUBSCRIPTION = 1_000
MOST_IDS = 10_000
"""Ids that one connection may follow."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What is watched: a batch, a kind, some ids, or everything if all are None."""

    batch: str | None = None
    kind: str | None = None
    ids: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if sum(part is not None for part in (self.batch, self.kind, self.ids)) > 1:
            raise TypeError("watch one of batch, kind and ids, or nothing of them for all jobs")
        if self.ids is not None and not 1 <= len(self.ids) <= MOST_IDS:
            raise ValueError(f"watch 1 to {MOST_IDS:,} ids, not {len(self.ids):,}; a batch has no limit")

    def subscriptions(self) -> list[str]:
        """Return the frames that subscribe to the scope; their names count from 0."""
        scopes: list[Mapping[str, Any]]
        if self.ids is not None:
            ids, step = self.ids, IDS_OF_A_SUBSCRIPTION
            scopes = [{"ids": ids[start : start + step]} for start in range(0, len(ids), step)]
        elif self.batch is not None:
            scopes = [{"batch": self.batch}]
        else:
            scopes = [{"all": True} if self.kind is None else {"kind": self.kind}]
        return [json.dumps({"type": "subscribe", "sub": sub, "scope": scope}) for sub, scope in enumerate(scopes)]

    def query(self) -> dict[str, str]:
        """Return the filter of `GET /jobs` that has the same jobs."""
        parts = {"batch": self.batch, "kind": self.kind}
        return {name: value for name, value in parts.items() if value is not None}


class SnapshotJob(msgspec.Struct):
    """A job in a snapshot."""

    id: str
    rev: int
    state: str
    reason: str
    attempt: int
    at: datetime
    waits: Waits | None = None

    def event(self) -> JobEvent:
        """Return its last transition."""
        return JobEvent(
            id=self.id,
            rev=self.rev,
            state=self.state,
            reason=self.reason,
            attempt=self.attempt,
            at=self.at,
            waits=self.waits,
        )


class Event(msgspec.Struct):
    """An entry of an `events` frame."""

    id: str
    rev: int
    state: str
    reason: str
    attempt: int
    at: datetime
    progress: Progress | None = None
    waits: Waits | None = None

    def event(self) -> JobEvent:
        """Return it as users see it."""
        return JobEvent(**{name: getattr(self, name) for name in self.__struct_fields__})


class Frame(msgspec.Struct):
    """Any frame of the gateway; members that its type does not have are None."""

    type: str
    sub: int | str | None = None
    jobs: list[SnapshotJob] | None = None
    counts: dict[str, int] | None = None
    events: Sequence[Event] = ()
    problem: msgspec.Raw | None = None


_decoder = msgspec.json.Decoder(Frame)


def parse(text: str) -> Frame:
    """Return a frame. Raise `ValueError` for a text that is none."""
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ValueError(str(error)) from None
