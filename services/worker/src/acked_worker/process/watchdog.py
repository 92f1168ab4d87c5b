"""Exit the process when its plumbing is stuck: a worker that neither renews nor consumes only appears alive.

The watchdog has its own thread, so a blocked loop can't stop it. The supervisor starts a new process; expired leases
return the jobs.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping

from acked_common.runtime.logs import say_now

LOOK_EVERY_S = 1.0
EXIT_CODE = 70


class Watchdog:
    """Compare each part's last heartbeat with its limit."""

    def __init__(self, parts: Mapping[str, tuple[float, Callable[[], float]]]) -> None:
        """Take for each part, by name, its limit in seconds and the monotonic instant of its last heartbeat."""
        self._parts = parts
        self._shortest_s = min(limit_s for limit_s, _ in parts.values())
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start the watchdog thread."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Stop checking; a drain may take longer than the limits."""
        self._stopped.set()

    def dead_part(self) -> str | None:
        """Return the name of a part whose heartbeat is overdue."""
        now = time.monotonic()
        for name, (limit_s, came_round_at) in self._parts.items():
            if now - came_round_at() > limit_s:
                return name
        return None

    def _watch(self) -> None:
        looked_at = time.monotonic()
        while not self._stopped.wait(LOOK_EVERY_S):
            now = time.monotonic()
            # After a pause of the whole process every part is overdue: wait before judging.
            if now - looked_at > self._shortest_s / 2:
                self._stopped.wait(self._shortest_s / 2)
            looked_at = time.monotonic()
            if (dead := self.dead_part()) is not None and not self._stopped.is_set():
                # The logging of a stuck process may be stuck too.
                say_now(f'{{"event": "watchdog ends the process", "part": "{dead}", "level": "error"}}\n')
                os._exit(EXIT_CODE)
