"""OWNER of the effects that flows yield, and of their outcomes. Pure."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from acked_client.model.jobs import JobEvent

T = TypeVar("T")


JSON = "application/json"
LINES = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request, but for its address and the token."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Of `media_type`; None for no body."""
    idempotency_key: str | None = None
    of_intake: bool = False
    """Whether intake serves the path, and not the gateway."""
    media_type: str = JSON


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Lost:
    """No response, or only a part of one."""

    reason: str
    may_have_arrived: bool
    """False if no server can have seen the request."""
    is_final: bool = False
    """Whether a repetition would fail in the same way, as with a certificate that is not trusted."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request to `base_url`. The outcome is a `Response` or `Lost`."""

    base_url: str
    request: Request
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait. The outcome is None."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a WebSocket. The outcome is None, the `Response` that refused it, or `Lost`."""

    base_url: str
    path: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Say:
    """Send a text over the WebSocket. The outcome is None or `Closed`."""

    text: str


@dataclass(frozen=True, slots=True)
class Hear:
    """Receive a text from the WebSocket. The outcome is the text, `Closed`, or None after `timeout_s`."""

    timeout_s: float


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the WebSocket. The outcome is None."""


@dataclass(frozen=True, slots=True)
class Show:
    """Give events to the user. The outcome is None."""

    events: Sequence[JobEvent]


@dataclass(frozen=True, slots=True)
class Closed:
    """The WebSocket is closed; `code` is 1006 if the connection broke."""

    code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """The outcome of an effect, and how long it took."""

    outcome: Response | Lost | Closed | str | None
    took_s: float


Effect = Send | Pause
FeedEffect = Send | Pause | Connect | Say | Hear | HangUp | Show

Flow = Generator[Effect, Done, T]
"""A call that ends with a value of type T, or raises an `AckedError`."""
FeedFlow = Generator[FeedEffect, Done, T]


class Stopwatch:
    """The sum of what the effects of a flow took, in seconds."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0

    def time(self, flow: Flow[T]) -> Flow[T]:
        """Run a flow and add what it takes."""
        try:
            effect = next(flow)
            while True:
                done = yield effect
                self.elapsed_s += done.took_s
                effect = flow.send(done)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
