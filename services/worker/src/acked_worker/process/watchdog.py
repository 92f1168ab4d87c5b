"""Ends the process when its plumbing is dead: a worker that neither renews nor consumes only looks alive.

Runs in a thread of its own, so that a blocked loop can't keep it from looking. The supervisor starts a new process; the
leases bring the jobs back.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping

from acked_common.runtime.logs import say_now

LOOK_EVERY_S = 1.0
EXIT_CODE = 70


class Watchdog:
    """Compares when each part last came round with how long it may take."""

    def __init__(self, parts: Mapping[str, tuple[float, Callable[[], float]]]) -> None:
        """`parts`: by name, how long it may take, and when it last came round, on the monotonic clock."""
        self._parts = parts
        self._shortest_s = min(limit_s for limit_s, _ in parts.values())
        self._stopped = threading.Event()

    def start(self) -> None:
        """Starts looking."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Stops looking; a drain may take longer than the limit."""
        self._stopped.set()

    def dead_part(self) -> str | None:
        """The name of a part that has not come round in time."""
        now = time.monotonic()
        for name, (limit_s, came_round_at) in self._parts.items():
            if now - came_round_at() > limit_s:
                return name
        return None

    def _watch(self) -> None:
        looked_at = time.monotonic()
        while not self._stopped.wait(LOOK_EVERY_S):
            now = time.monotonic()
            # After a pause of the whole process every part looks dead: give them one limit to come round.
            if now - looked_at > self._shortest_s / 2:
                self._stopped.wait(self._shortest_s / 2)
            looked_at = time.monotonic()
            if (dead := self.dead_part()) is not None and not self._stopped.is_set():
                # The logging of a stuck process may be stuck as well.
                say_now(f'{{"event": "watchdog ends the process", "part": "{dead}", "level": "error"}}\n')
                os._exit(EXIT_CODE)
