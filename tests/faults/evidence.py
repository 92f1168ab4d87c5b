"""What the checker reads, as plain data. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from faults.clients import Attempt
from faults.durable_evidence import DurableEvidence

FIELDS_OF_A_JOB = ("_id", "tenant", "kind", "payload", "accepted_at", "state", "reason", "rev", "run", "attempt")


@dataclass(frozen=True, slots=True)
class Entry:
    """One transition."""

    rev: int
    state: str
    reason: str
    attempt: int
    at: float
    via: str = ""
    """What an operator used, `api` or `bulk:` and an id; empty for what services did by themselves."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A job as it lies in the database; instants are seconds since the epoch."""

    id: str
    state: str
    rev: int
    run: int
    attempt: int
    tags: tuple[str, ...]
    entries: tuple[Entry, ...]
    """Behind the first one, which every job has."""
    result: Any
    kind: str = ""
    missing: tuple[str, ...] = ()
    """Fields that a whole job has and this one has not."""


def kept_job(document: Mapping[str, Any], result: Any) -> Kept:
    """A job from its document, its result decoded already."""
    return Kept(
        id=str(document["_id"]),
        state=document.get("state", ""),
        rev=document.get("rev", 0),
        run=document.get("run", 0),
        attempt=document.get("attempt", 0),
        tags=tuple(document.get("tags", ())),
        entries=tuple(
            Entry(e["rev"], e["state"], e["reason"], e["attempt"], _epoch(e["at"]), e.get("by", {}).get("via", ""))
            for e in document.get("history", ())
        ),
        result=result,
        kind=document.get("kind", ""),
        missing=tuple(name for name in FIELDS_OF_A_JOB if name not in document),
    )


def _epoch(at: datetime) -> float:
    return at.timestamp()


@dataclass(slots=True)
class Effect:
    """One start of a handler: when it began, and when and how it ended, if it did."""

    job_id: str
    attempt: int
    pid: int
    begin_at: float
    end_at: float | None = None
    how: str | None = None


def effects_of(lines: Sequence[Mapping[str, Any]]) -> list[Effect]:
    """The effects from the lines of their ledger, in the order of their beginnings."""
    found: list[Effect] = []
    open_ones: dict[tuple[str, int, int], Effect] = {}
    for line in lines:
        key = (line["id"], line["attempt"], line["pid"])
        if line["what"] == "begin":
            effect = Effect(*key, begin_at=line["at"])
            found.append(effect)
            open_ones[key] = effect
        elif (effect_or_none := open_ones.pop(key, None)) is not None:
            effect_or_none.end_at, effect_or_none.how = line["at"], line["what"]
    return found


@dataclass(frozen=True, slots=True)
class Loss:
    """A process that was killed, paused or cut off: its id and when."""

    pid: int
    at: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What one observer of the feed knew at the end, and what went wrong meanwhile."""

    jobs: Mapping[str, tuple[int, str]]
    counts: Mapping[str, int] | None
    wrong: Sequence[str]
    resyncs: int
    connections: int

    @property
    def jobs_that_hold(self) -> Mapping[str, tuple[int, str]]:
        """Jobs whose end it must know. Where counts stand for jobs, none of before a new connection is told again."""
        return {} if self.counts is not None and self.connections + self.resyncs > 1 else self.jobs


@dataclass(frozen=True, slots=True)
class Standing:
    """A bulk action as it said at its end that it stands."""

    id: str
    state: str
    done: int
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Command:
    """What operators asked for: each of these jobs moves once for it, and no other."""

    reason: str
    """In the history of its jobs."""
    ids: frozenset[str]
    standings: tuple[Standing, ...] = ()
    """The bulk actions of it: several where an answer was lost and it was asked for again. None where each job was
    named by itself."""
    is_aborted: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause of a kind: from when no job of it may start, until its resume was asked for."""

    kind: str
    from_at: float
    until_at: float


def takes_effect_at(confirmed_at: float, within_s: float, disturbed: Sequence[tuple[float, float]]) -> float:
    """When a pause that was confirmed must have taken effect: after so long without a disturbance, of which the begins
    and ends are given. A worker that stands still, or has no MongoDB, can't know of it."""
    from_at = confirmed_at
    for begin, end in sorted(disturbed):
        if begin < from_at + within_s:
            from_at = max(from_at, end)
    return from_at + within_s


@dataclass(slots=True)
class Evidence:
    """All of one experiment, gathered when everything was healed and had ended."""

    attempts: Sequence[Attempt]
    jobs: Mapping[str, Kept]
    effects: Sequence[Effect] = ()
    losses: Sequence[Loss] = ()
    observers: Sequence[Seen] = ()
    live: int = 0
    """Jobs of anybody that are live at the end."""
    wakeless: int = 0
    """Live jobs without a wake, or ended ones with one, in the whole database."""
    waiting_bundles: Mapping[str, int] = field(default_factory=dict)
    """What queues of the broker still hold, by name."""
    leaks: Sequence[str] = ()
    """Secrets or payloads in logs."""
    may_cancel: bool = False
    """Whether jobs were cancelled on purpose."""
    fails_on_purpose: frozenset[str] = frozenset()
    """Ids of jobs whose handler fails or hangs."""
    commands: Sequence[Command] = ()
    pauses: Sequence[Pause] = ()
    durable: DurableEvidence | None = None
    """Of an experiment with durable jobs."""
