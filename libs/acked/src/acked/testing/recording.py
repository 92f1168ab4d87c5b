"""A context for unit tests of handlers, without a worker.

from acked.testing import RecordingAttempt

attempt = RecordingAttempt(failures=2)
assert await my_handler(attempt.context, {"customer": 7}) == {"sent": True}
assert attempt.progress == [{"value": 0.5, "message": "half way"}]
"""

import time
from dataclasses import dataclass, field
from typing import Any

from acked.context import Context


@dataclass
class RecordingAttempt:
    """An attempt that records what its handler reports. Set `asked_to_stop` to simulate a cancel."""

    id: str = "00000000-0000-7000-8000-000000000000"
    kind: str = "test"
    run: int = 1
    attempt: int = 1
    failures: int = 0
    batch: str | None = None
    tags: tuple[str, ...] = ()
    deadline: float = field(default_factory=lambda: time.monotonic() + 900.0)
    asked_to_stop: bool = False
    stopping_was_seen: bool = False
    ledger: None = None
    """Durable calls need `LongWork`."""
    progress: list[dict[str, Any]] = field(default_factory=list)

    @property
    def options(self) -> "RecordingAttempt":
        """The options of the request: `batch` and `tags` of this object."""
        return self

    @property
    def context(self) -> Context:
        """The context to pass to a handler."""
        return Context(self)

    def seen_stopping(self) -> None:
        """Note that the handler has read `ctx.cancelled` as True."""
        self.stopping_was_seen = True

    def report_progress(self, progress: dict[str, Any]) -> None:
        """Record the progress."""
        self.progress.append(progress)
