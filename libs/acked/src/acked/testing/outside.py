"""Find effects of a handler outside its steps: they are repeated whenever the handler runs again.

An audit hook of the interpreter sees files that are opened for writing, sockets that are connected and processes that
are started. It can't be removed, so it is installed once, and does nothing outside an attempt under test. It does not
see what a library does in threads of its own.
"""

import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

import acked
from acked.durable.engine import SCOPE
from acked.testing.life import LIFE

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
_STARTS = frozenset({"subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.spawn", "os.system"})
_NO_EFFECTS = ("/dev/", "/proc/")
_LIBRARIES = tuple(
    {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), str(Path(acked.__file__).parent) + os.sep}
)
MOST_NOTED = 100

_is_installed = False


def watch_effects() -> None:
    """Begin to note effects in `World.outside`; again does nothing."""
    global _is_installed
    if not _is_installed:
        sys.addaudithook(_audit)
        _is_installed = True


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event not in ("open", "socket.connect") and event not in _STARTS:
        return
    life = LIFE.get()
    if life is None or life.is_dead or SCOPE.get() is not None:
        return
    what = _effect(event, args)
    if what is None:
        return
    noted = f"{what}, at {_place()}"
    outside = life.world.outside
    if noted not in outside and len(outside) < MOST_NOTED:
        outside.append(noted)


def _effect(event: str, args: tuple[Any, ...]) -> str | None:
    if event == "open":
        return _written(*args[:3])
    if event == "socket.connect":
        return f"connects to {args[1]!r}"
    return f"starts a process ({event})"


def _written(path: object, mode: object, flags: object) -> str | None:
    if not isinstance(path, str | bytes | os.PathLike):
        # A file descriptor that is open already.
        return None
    name = os.fsdecode(path)
    if name.startswith(_NO_EFFECTS) or "__pycache__" in name:
        return None
    is_writing = not set("wax+").isdisjoint(mode) if isinstance(mode, str) else False
    is_writing |= isinstance(flags, int) and bool(flags & _WRITES)
    return f"opens {name} for writing" if is_writing else None


def _place() -> str:
    """Return `file:line` of the innermost frame outside of libraries."""
    frame = sys._getframe(2)
    found = frame
    while frame is not None:
        name = frame.f_code.co_filename
        is_library = name.startswith((*_LIBRARIES, "<")) or "site-packages" in name
        if not is_library:
            found = frame
            break
        if frame.f_back is None:
            break
        frame = frame.f_back
    return f"{found.f_code.co_filename}:{found.f_lineno}"
