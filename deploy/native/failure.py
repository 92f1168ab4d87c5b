"""Errors of commands of a native stack: the part, the cause, and the last lines of its log."""

from deploy.native.layout import Layout

LOG_LINES = 15
"""How much of a log goes with a failure."""


class StackError(Exception):
    """Signal that a command failed; the message has the part, the cause and the last lines of its log."""


def log_tail(layout: Layout, part: str, lines: int = LOG_LINES) -> str:
    """Return the last lines of a part's log."""
    try:
        text = (layout.logs / f"{part}.log").read_text("utf-8", "replace")
    except OSError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:] if lines else ())


def part_failed(layout: Layout, part: str, why: str) -> StackError:
    """Return the error for a part that failed, with the end of its log."""
    tail = log_tail(layout, part).replace("\n", "\n  ")
    return StackError(f"{part} failed: {why}\n  last lines of {layout.logs / (part + '.log')}:\n  {tail}")
