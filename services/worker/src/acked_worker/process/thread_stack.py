"""Read where another thread of this process is, without touching its frames.

A frame of a thread that goes on to run may not be read on Python 3.11: between two reads of `f_back` the thread returns
from it, and the next read finds something else in its place, or the process crashes (python/cpython#99110);
`sys._current_frames` may also deadlock with a collection of garbage (python/cpython#106883). `faulthandler` reads all
threads within one call, which no thread interrupts.
"""

import faulthandler
import os
import re
import traceback

_THREAD = re.compile(r"^(?:Current thread|Thread) 0x0*([0-9a-f]+)\b")
_FRAME = re.compile(r'^  File "(.*)", line (\d+) in (.*)$')
_ESCAPED = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")


def stack_of(thread_id: int) -> traceback.StackSummary:
    """Return the stack of a running thread of this process, outermost frame first, as `traceback` does; any thread may
    call it.

    It has the innermost 100 frames. It is empty for a thread that has ended, and may be for one of more than 100.
    """
    frames: list[tuple[str, int, str, None]] = []
    wanted, current = f"{thread_id:x}", ""
    for line in _dumped().splitlines():
        if thread := _THREAD.match(line):
            current = thread[1]
        elif current == wanted and (frame := _FRAME.match(line)):
            frames.append((_plain(frame[1]), int(frame[2]), _plain(frame[3]), None))
    return traceback.StackSummary.from_list(frames[::-1])


def _plain(text: str) -> str:
    """Return a name as it was: `faulthandler` writes ASCII and escapes all other characters."""
    return _ESCAPED.sub(lambda found: chr(int(found[1] or found[2] or found[3], 16)), text)


def _dumped() -> str:
    # A pipe would be full before anything is read from it.
    with os.fdopen(os.memfd_create("acked-stacks"), "r+b") as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        return file.read().decode(errors="replace")
