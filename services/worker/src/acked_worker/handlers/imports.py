"""How far the import of handlers is: user code may import for minutes, as models do, and no limit ends that.

A person must see what is imported and since when: in the log of the process, and in `/readyz` of a worker.
"""

import sys
import threading
import time
from contextlib import AbstractContextManager
from types import FrameType

from acked import Kind
from acked_common.runtime.logs import get_log
from acked_worker.handlers.registry import load_kinds
from acked_worker.process.side_thread import side_thread
from acked_worker.settings import HandlerSources

log = get_log(__name__)

SAID_EVERY_S = 10.0


class ImportProgress:
    """What one process imports now. Written by the thread that imports, read by any."""

    def __init__(self) -> None:
        self._thread_id = threading.get_ident()
        self._began_at = time.monotonic()
        self._module: str | None = None
        self._module_at = self._began_at

    def begin(self, module: str) -> None:
        """A module of handlers is imported from now on."""
        self._module = module
        self._module_at = time.monotonic()

    @property
    def module(self) -> str | None:
        """The module of handlers that is being imported."""
        return self._module

    @property
    def since_s(self) -> float:
        """For how long handlers have been imported."""
        return time.monotonic() - self._began_at

    @property
    def place(self) -> str | None:
        """`file:line` of what the importing thread does now, below the machinery of imports."""
        frame = sys._current_frames().get(self._thread_id)
        return _place_of(frame)

    @property
    def text(self) -> str:
        """For people: in `/readyz`, and from there in the status of the stack."""
        if self._module is None:
            return f"imports since {self.since_s:.0f} s"
        seconds = time.monotonic() - self._module_at
        place = f" ({self.place})" if self.place else ""
        return f"imports since {self.since_s:.0f} s: module {self._module!r} for {seconds:.0f} s{place}"


def load_handlers(sources: HandlerSources, progress: ImportProgress | None = None) -> dict[str, Kind]:
    """Import all handlers and return their kinds by name (see `load_kinds`). Raises `HandlersError`.

    The worker, its fork server and `init` load them here, so they serve the same kinds. While imports take long, the
    log says what is imported.
    """
    progress = progress or ImportProgress()
    with logging_imports(progress):
        kinds = load_kinds(sources.modules, sources.folder, progress.begin)
    if progress.since_s > SAID_EVERY_S:
        log.info("handlers are imported", took_s=round(progress.since_s))
    return kinds


def logging_imports(progress: ImportProgress, *, every_s: float = SAID_EVERY_S) -> AbstractContextManager[None]:
    """Log now and then what is imported, for as long as the context lasts."""

    def write(done: threading.Event) -> None:
        while not done.wait(every_s):
            log.warning(
                "handlers are being imported",
                since_s=round(progress.since_s),
                module=progress.module,
                at_line=progress.place,
            )

    return side_thread("acked-imports", write)


def _place_of(frame: FrameType | None) -> str | None:
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith("<frozen") and frame.f_globals.get("__package__") != __package__:
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return None
