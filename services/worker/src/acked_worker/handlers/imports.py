"""Report the progress of handler imports: user code may import for minutes, as models do, and no limit stops it.

Operators see the module and its import time in the log of the process and in the worker's `/readyz`.
"""

import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path

from acked import Kind
from acked_common.runtime.logs import get_log
from acked_worker.handlers.registry import load_kinds
from acked_worker.process.side_thread import side_thread
from acked_worker.process.thread_stack import stack_of
from acked_worker.settings import HandlerSources

log = get_log(__name__)

SAID_EVERY_S = 10.0
_OURS = f"{Path(__file__).parents[1]}/"
"""The place is one in the modules of a user, or in what they import."""


class ImportProgress:
    """The current import of one process. The importing thread writes it; any thread may read it."""

    def __init__(self) -> None:
        self._thread_id = threading.get_ident()
        self._began_at = time.monotonic()
        self._module: str | None = None
        self._module_at = self._began_at

    def begin(self, module: str) -> None:
        """Note that the import of a handler module starts."""
        self._module = module
        self._module_at = time.monotonic()

    @property
    def module(self) -> str | None:
        """The handler module that is being imported."""
        return self._module

    @property
    def since_s(self) -> float:
        """Seconds since the imports began."""
        return time.monotonic() - self._began_at

    @property
    def place(self) -> str | None:
        """`file:line` that the importing thread executes now, outside the import machinery."""
        for frame in reversed(stack_of(self._thread_id)):
            if not frame.filename.startswith(("<frozen", _OURS)):
                return f"{frame.filename}:{frame.lineno}"
        return None

    @property
    def text(self) -> str:
        """A summary for operators, in `/readyz` and in the stack's status."""
        if self._module is None:
            return f"imports since {self.since_s:.0f} s"
        seconds = time.monotonic() - self._module_at
        place = self.place
        at_line = f" ({place})" if place else ""
        return f"imports since {self.since_s:.0f} s: module {self._module!r} for {seconds:.0f} s{at_line}"


def load_handlers(sources: HandlerSources, progress: ImportProgress | None = None) -> dict[str, Kind]:
    """Import all handlers and return their kinds by name (see `load_kinds`). Raise `HandlersError`.

    The worker, its fork server and `init` load them here, so they serve the same kinds. Slow imports are logged.
    """
    progress = progress or ImportProgress()
    with logging_imports(progress):
        kinds = load_kinds(sources.modules, sources.folder, progress.begin)
    if progress.since_s > SAID_EVERY_S:
        log.info("handlers imported", took_s=round(progress.since_s))
    return kinds


def logging_imports(progress: ImportProgress, *, every_s: float = SAID_EVERY_S) -> AbstractContextManager[None]:
    """Log the current import every `every_s` seconds, as long as the context lasts."""

    def write(done: threading.Event) -> None:
        while not done.wait(every_s):
            log.warning(
                "handlers are being imported",
                since_s=round(progress.since_s),
                module=progress.module,
                at_line=progress.place,
            )

    return side_thread("acked-imports", write)
