"""Bound how long a recipe waits for a part that starts. Pure but for the clock.

A part has a fixed time to get ready, except for the import of handlers: user code may take as long as it needs, and the
recipe prints its progress. So the time restarts with each sign that an import continues.
"""

import json
import time
from collections.abc import Callable

PART_WITHIN_S = 180.0
"""A part that fails ends, which is noticed at once; this bounds parts that hang. RabbitMQ took a minute on a busy
machine."""
GIVES_UP_AFTER_S = 8.0
"""How long a part that exits at its start is retried, because a server that it needs may be late."""
SAID_EVERY_S = 10.0
LOOK_EVERY_S = 1.0
IMPORTS = "imports since "
"""In the readiness of a worker while user code is being imported."""
ENDED_AT_ONCE = "it exits right after its start"
ENDED_IN_IMPORT = "it ended while it imported the handlers"
_SILENT = "does not respond"


def importing_text(line: str) -> str | None:
    """Return the import that a log line reports; None if it reports none."""
    try:
        event = json.loads(line)
        if event["event"] == "handlers are being imported":
            return f"{IMPORTS}{event['since_s']} s: module {event['module']!r} ({event['at_line']})"
    except (ValueError, KeyError, TypeError):
        pass
    return None


class Patience:
    """The wait for one part."""

    def __init__(self, part: str, told: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._part = part
        self._told = told
        self._clock = clock
        self._end = clock() + PART_WITHIN_S
        self._look_at = self._say_at = clock()
        self._ended_first_at: float | None = None
        self._importing_pid = 0

    def over(self, state: str, pid: int, readiness: Callable[[], str]) -> str | None:
        """Return why waiting longer is useless; "" if the time is over, None to wait on."""
        now = self._clock()
        if self._importing_pid and pid != self._importing_pid:
            return ENDED_IN_IMPORT
        if state in ("BACKOFF", "FATAL"):
            self._ended_first_at = now if self._ended_first_at is None else self._ended_first_at
        elif state == "RUNNING":
            self._ended_first_at = None
        if self._ended_first_at is not None and now - self._ended_first_at > GIVES_UP_AFTER_S:
            return ENDED_AT_ONCE
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY_S
            self._follow_import(readiness(), pid, now)
        return "" if now > self._end else None

    def _follow_import(self, text: str, pid: int, now: float) -> None:
        # An import in C may block the whole process.
        goes_on = IMPORTS in text or (self._importing_pid == pid and text.startswith(_SILENT))
        self._importing_pid = pid if goes_on else 0
        if goes_on:
            self._end = now + PART_WITHIN_S
            if now >= self._say_at:
                self._say_at = now + SAID_EVERY_S
                self._told(f"{self._part}: {text}")
