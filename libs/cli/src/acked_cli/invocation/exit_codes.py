"""OWNER of the exit codes, and of which exception ends a command with which. Pure."""

from enum import IntEnum

from acked_cli.settings import UnusableSecret
from acked_client import (
    JobCancelled,
    JobFailed,
    NoResponse,
    NotFound,
    ProblemError,
    StillRunning,
    Unavailable,
    UnexpectedResponse,
)


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    JOB_FAILED = 1
    """A job that was waited for failed, was cancelled, or has not ended in time; a bulk action did not run to its
    end."""
    USAGE = 2
    """The command can't be run as it was typed; nothing was sent."""
    NOT_FOUND = 3
    REFUSED = 4
    UNREACHABLE = 5
    """No service responded, or the one that did can't serve now."""
    INTERRUPTED = 130
    READER_GONE = 141


_OF_ERRORS: tuple[tuple[type[Exception], ExitCode], ...] = (
    (JobFailed, ExitCode.JOB_FAILED),
    (JobCancelled, ExitCode.JOB_FAILED),
    (StillRunning, ExitCode.JOB_FAILED),
    (NotFound, ExitCode.NOT_FOUND),
    (Unavailable, ExitCode.UNREACHABLE),
    (ProblemError, ExitCode.REFUSED),
    (NoResponse, ExitCode.UNREACHABLE),
    (UnexpectedResponse, ExitCode.UNREACHABLE),
    (UnusableSecret, ExitCode.USAGE),
    (ValueError, ExitCode.USAGE),
)
EXPECTED = tuple(kind for kind, _ in _OF_ERRORS)
"""Exceptions that are a result of the command. All others are defects of it."""


def code_of(error: Exception) -> ExitCode:
    """Return the exit code of an expected exception."""
    return next(code for kind, code in _OF_ERRORS if isinstance(error, kind))
