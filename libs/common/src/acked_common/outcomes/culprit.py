"""Find the line of the user's own code that raised an error: module, qualified name and text. Pure.

The result has no file name and no line number, so it is the same on every host and survives edits elsewhere in the
file.
"""

import linecache
import re
import sys
from collections.abc import Iterator
from pathlib import PurePath
from types import FrameType

MAX_LOOKS = 20
"""The maximum of exceptions followed by `__cause__` and `__context__`."""
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_OURS = frozenset({"acked", "acked_common", "acked_worker"})
_SHIPPED_KINDS = "acked.kinds"
# Python 3.12 runs these in the surrounding frame, 3.11 in a frame of their own.
_COMPREHENSIONS = re.compile(r"(\.<locals>\.<(list|dict|set)comp>)+$")


def culprit_of(error: BaseException) -> str | None:
    """Return `module.qualname: text of the line` of the innermost frame in the user's own modules, unbounded.

    None without such a frame. For an exception group, return the line that its exceptions share, or else the line that
    raised the group. Never raise.
    """
    try:
        return _culprit(error, MAX_LOOKS)
    except Exception:
        return None


def _culprit(error: BaseException, looks: int) -> str | None:
    if isinstance(error, BaseExceptionGroup) and looks > 0:
        below = {_culprit(one, looks - 1) for one in error.exceptions}
        if len(below) == 1 and (shared := below.pop()) is not None:
            return shared
    seen: set[int] = set()
    behind: BaseException | None = error
    while behind is not None and id(behind) not in seen and len(seen) < MAX_LOOKS:
        seen.add(id(behind))
        if found := _innermost(behind):
            return found
        # A library may raise without a frame of the user's code, for example from another thread.
        is_hidden = behind.__cause__ is not None or behind.__suppress_context__
        behind = behind.__cause__ if is_hidden else behind.__context__
    return None


def _innermost(error: BaseException) -> str | None:
    frames = [(frame, line) for frame, line in _frames(error) if not _is_ours(_module(frame))]
    found = next((one for one in reversed(frames) if _is_own(one[0])), None)
    if found is None and frames:
        # If the handlers are an installed package, all of that package is the user's own.
        package = _top(_module(frames[0][0]))
        is_package = bool(package) and package not in sys.stdlib_module_names
        found = next((one for one in reversed(frames) if is_package and _top(_module(one[0])) == package), None)
    if found is None:
        return None
    frame, line = found
    name = _COMPREHENSIONS.sub("", frame.f_code.co_qualname)
    text = linecache.getline(frame.f_code.co_filename, line, frame.f_globals).strip()
    return f"{_module(frame)}.{name}: {text}" if text else f"{_module(frame)}.{name}"


def _frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    """Yield each frame of the traceback and its line, outermost first."""
    at = error.__traceback__
    while at is not None:
        yield at.tb_frame, at.tb_lineno
        at = at.tb_next


def _is_own(frame: FrameType) -> bool:
    module = _module(frame)
    if _is_shipped_kind(module):
        return True
    is_installed = not _INSTALLED.isdisjoint(PurePath(frame.f_code.co_filename).parts)
    return bool(module) and _top(module) not in sys.stdlib_module_names and not is_installed


def _is_ours(module: str) -> bool:
    return _top(module) in _OURS and not _is_shipped_kind(module)


def _is_shipped_kind(module: str) -> bool:
    return module == _SHIPPED_KINDS or module.startswith(f"{_SHIPPED_KINDS}.")


def _module(frame: FrameType) -> str:
    """Return the name of the frame's module; empty for code without one."""
    name = frame.f_globals.get("__name__")
    return name if isinstance(name, str) else ""


def _top(module: str) -> str:
    return module.partition(".")[0]
