"""The port behind durable calls, which a worker and the test kit implement, and its records. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from acked.durable.reply import Reply

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop


class Call(StrEnum):
    """What a kept entry belongs to."""

    STEP = "step"
    TRY = "try"
    """The delay before a further try of a step."""
    CHECKPOINT = "checkpoint"
    SLEEP = "sleep"
    WAIT = "wait"
    FIRST = "first"
    NOW = "now"
    NOTE = "note"


class KeptError(Struct, frozen=True):
    """The error of a step that failed for good."""

    type: str
    message: str


class Kept(Struct, frozen=True, omit_defaults=True):
    """The recorded outcome of one durable call. While `is_open`, the call has begun and has no outcome.

    `acked_common.model.ledger.LedgerEntry` has the same fields on purpose: this package depends on no other of Acked,
    so what handlers see can't be the record that is stored. The worker maps one to the other, and refuses to start if
    their fields differ.
    """

    call: Call
    name: str
    key: str | None
    """The key as JSON text."""
    at: datetime
    took_s: float = 0.0
    attempt: int = 0
    tries: int = 1
    arguments: str | None = None
    """The digest of a step's arguments; None if they are not JSON."""
    value: bytes | None = None
    """A JSON text."""
    error: KeptError | None = None
    due_at: datetime | None = None
    """The end of a sleep, of a wait, or of the delay of a try."""
    is_open: bool = False
    timed_out: bool = False
    cancelled: bool = False
    """Cancelled from inside the handler: its replay does not end until it is cancelled again."""
    version: int = 1


class InboxSignal(Struct, frozen=True):
    """An unread signal; `value` is a JSON text. `seq` is its place among all signals of the job."""

    id: str
    name: str
    value: bytes
    at: datetime
    by: str | None
    seq: int


class Opened(Struct, frozen=True):
    """What an attempt reads when it opens its ledger."""

    kept: Mapping[str, Kept]
    """By digest."""
    inbox: Sequence[InboxSignal]
    in_seq: int
    """The number of signals that the job had received at that read."""
    began_with: str
    """The version of the kind at the first open."""


class LedgerFound(Exception):
    """Raised by a write that should open a missing ledger: there was one, which is open now. Nothing is written."""

    def __init__(self, opened: Opened) -> None:
        super().__init__("the job had a ledger already")
        self.opened = opened


class Write(Struct, frozen=True):
    """One entry to keep; `takes` is the id of the signal that leaves the inbox in the same write."""

    digest: str
    kept: Kept
    takes: str | None = None


class ParkedFor(Struct, frozen=True):
    """Why an attempt parks."""

    call: str
    """The durable call that waits: `sleep`, `wait`, `first` or `try`; of several, the one that ends first."""
    name: str
    until_at: datetime | None
    """The earliest end of all waits; None if only a signal ends them."""
    signals: tuple[str, ...]
    """The names of the signals that end a wait."""
    in_seq: int
    """The park applies only if no signal behind this number has been announced to the job."""


class LedgerPort(Protocol):
    """The ledger of one attempt. Call it on `loop`, except `in_main` and `now`."""

    opens_with_first_write: bool
    """Whether calls may write without `open`. Then the first write opens the ledger, or raises `LedgerFound`."""

    @property
    def park_over_s(self) -> float:
        """A wait that ends later than this parks; a shorter one stays in memory."""

    @property
    def deadline_at(self) -> datetime:
        """The end of the attempt's timeout, by `now`."""

    @property
    def loop(self) -> "AbstractEventLoop":
        """The loop on which durable calls of the attempt run."""

    @property
    def attempt(self) -> int:
        """The number of the attempt."""

    @property
    def is_stopping(self) -> bool:
        """Whether the attempt was asked to stop, so that a cancelled call is not the handler's own doing."""

    def now(self) -> datetime:
        """Return the instant by the clock of the store, in UTC."""

    def in_main(self) -> bool:
        """Return whether the caller is the handler's own task or thread, not one that the handler started."""

    async def open(self) -> Opened:
        """Open the ledger. Raise `LeaseLost` if another attempt has opened it."""

    def write(self, write: Write) -> Reply[Kept]:
        """Begin to keep an entry. The reply is what is kept after a majority has it, or `LeaseLost` or `TooManySteps`.

        The write goes on when an await of its reply is cancelled.
        """

    async def inbox(self) -> tuple[Sequence[InboxSignal], int]:
        """Read the unread signals again, and the number of all received."""

    async def wait(self, until_at: datetime | None, *, for_signals: bool) -> None:
        """Wait until that instant; with `for_signals` also until one may have arrived since the inbox was read."""

    async def settle(self) -> None:
        """Wait until tasks that the handler started would have gone on: 30 s in a worker."""
