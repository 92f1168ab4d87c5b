"""OWNER of bulk actions: one command over many jobs, its plan, and its progress. Pure.

A plan fixes which jobs an action may move: ids up to `up_to`, accepted no later than `planned_at`, and ended, if at
all, no later than that either. So jobs that arrive or fail later are excluded, and so are jobs that the action has
moved.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from acked_common.model.interventions import CANCELLABLE, ERASABLE, RESOLVABLE, RETRYABLE, RUNNABLE_NOW
from acked_common.model.lifecycle import State
from acked_common.model.principal import Actor

MOST_IDS = 10_000
COUNTED_UP_TO = 100_000
"""The maximum of jobs that a plan counts exactly."""
MOST_ACTIVE = 50
MOST_ACTIVE_OF_TENANT = 10
MAX_PAGE = 100
"""Jobs that move between two writes of the progress."""
EXAMPLES_KEPT = 20
MIN_RATE_PER_S, MAX_RATE_PER_S = 0.1, 1000.0
MAX_REASON_CHARS = 1000
MAX_RESULT_BYTES = 64 * 1024
"""The maximum size of a resolution's result, of which each job stores a copy."""
KEPT_FOR = timedelta(days=30)
"""How long an action is stored after its end."""


class BulkVerb(StrEnum):
    """The command for each job."""

    RETRY = "retry"
    CANCEL = "cancel"
    RESOLVE = "resolve"
    RUN_NOW = "run_now"
    ERASE = "erase"


MOVES: Mapping[BulkVerb, frozenset[State]] = MappingProxyType(
    {
        BulkVerb.RETRY: RETRYABLE,
        BulkVerb.CANCEL: CANCELLABLE,
        BulkVerb.RESOLVE: RESOLVABLE,
        BulkVerb.RUN_NOW: RUNNABLE_NOW,
        BulkVerb.ERASE: ERASABLE,
    }
)
"""The states that each verb leaves."""
UNNAMED: Mapping[BulkVerb, frozenset[State]] = MappingProxyType({**MOVES, BulkVerb.RETRY: frozenset({State.FAILED})})
"""The states of a filter without one. A retry of a batch should not move its cancelled jobs."""


class BulkState(StrEnum):
    """The stage of an action."""

    PLANNED = "planned"
    RUNNING = "running"
    DONE = "done"
    ABORTED = "aborted"
    FAILED = "failed"
    """A defect prevents it from continuing."""


ENDED = frozenset({BulkState.DONE, BulkState.ABORTED, BulkState.FAILED})


class JobChoice(Struct, frozen=True):
    """The jobs that a filter selects; a job must match every part that is set."""

    tenant: str
    states: tuple[State, ...]
    """Sorted, at least one."""
    kind: str | None = None
    batch: str | None = None
    tag: str | None = None
    error_group: str | None = None
    """Only with the single state `failed`."""
    since_at: datetime | None = None
    """The inclusive start of the range of acceptance."""
    until_at: datetime | None = None
    """The exclusive end of the range of acceptance."""
    waiting_for: str | None = None
    """Only with the single state `waiting`: the name of a signal, or `lifecycle_waits.NO_SIGNAL`."""


class BulkResolution(Struct, frozen=True):
    """The outcome that a resolve sets; `result` is a JSON text."""

    state: State
    result: bytes | None = None
    note: str | None = None


class BulkPlan(Struct, frozen=True):
    """The bounds of an action's jobs, and their number."""

    planned_at: datetime
    up_to: UUID
    matched: int
    is_exact: bool = True
    """Whether all were counted; otherwise there are at least `matched`."""


class BulkOrder(Struct, frozen=True):
    """The request for an action and its actor. It has a choice, or a number of ids that are stored separately."""

    tenant: str
    verb: BulkVerb
    by: Actor
    """The text by which histories of jobs name the action."""
    asked_at: datetime
    choice: JobChoice | None = None
    id_count: int = 0
    rate_per_s: float | None = None
    reason: str | None = None
    resolution: BulkResolution | None = None


class JobRefusal(Struct, frozen=True):
    """A job that the action did not move, and why."""

    id: UUID
    why: str


class BulkTally(Struct, frozen=True):
    """The outcomes so far."""

    done: int = 0
    refused: Mapping[str, int] = {}
    examples: tuple[JobRefusal, ...] = ()

    @property
    def handled(self) -> int:
        """Return how many jobs were moved or refused."""
        return self.done + sum(self.refused.values())

    def plus(self, done: int, refusals: Sequence[JobRefusal]) -> "BulkTally":
        """Return the tally with one more page."""
        refused = dict(self.refused)
        for refusal in refusals:
            refused[refusal.why] = refused.get(refusal.why, 0) + 1
        return BulkTally(self.done + done, refused, (*self.examples, *refusals)[:EXAMPLES_KEPT])


class Position(Struct, frozen=True):
    """The position of an action. A page is recorded before any of its jobs moves, and counted after the last has
    moved."""

    number: int = 0
    """Rises with each write of the owner, so that a repeated write changes nothing."""
    cursor: UUID | None = None
    """All jobs up to this id are counted."""
    page: tuple[UUID, ...] = ()
    """The jobs that may have moved but are not counted, in order."""


class Abort(Struct, frozen=True):
    """The actor of an abort, and its instant."""

    by: Actor
    at: datetime


class BulkAction(Struct, frozen=True):
    """A bulk action as it is stored."""

    id: UUID
    order: BulkOrder
    plan: BulkPlan
    state: BulkState = BulkState.PLANNED
    tally: BulkTally = BulkTally()
    position: Position = Position()
    abort: Abort | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    failure: str | None = None
    """Why it failed."""

    @property
    def progress(self) -> float | None:
        """Return the share of jobs processed, 0 to 1; None if their number is unknown."""
        if self.state is BulkState.DONE:
            return 1.0
        if not self.plan.is_exact:
            return None
        return min(1.0, self.tally.handled / self.plan.matched) if self.plan.matched else 0.0


def with_page(action: BulkAction, page: Sequence[UUID], at: datetime) -> BulkAction:
    """Return the action with a page whose jobs are about to move."""
    position = Position(action.position.number + 1, action.position.cursor, tuple(page))
    return replace(action, state=BulkState.RUNNING, position=position, started_at=action.started_at or at)


def with_count(action: BulkAction, done: int, refusals: Sequence[JobRefusal]) -> BulkAction:
    """Return the action with its page counted."""
    position = Position(action.position.number + 1, action.position.page[-1])
    return replace(action, tally=action.tally.plus(done, refusals), position=position)


def with_end(action: BulkAction, state: BulkState, at: datetime, failure: str | None = None) -> BulkAction:
    """Return the action as it ends."""
    position = replace(action.position, number=action.position.number + 1)
    started_at = action.started_at or at
    return replace(action, state=state, position=position, started_at=started_at, ended_at=at, failure=failure)
