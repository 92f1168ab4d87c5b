"""One exception for each problem type: `except acked_client.problems.WrongState`."""

from acked_client.model import problems as _classes
from acked_client.model.errors import AccessDenied, Conflict, InvalidRequest, LimitReached, ProblemError, Unavailable
from acked_client.model.problems import *  # noqa: F403 - one name for each problem type

__all__ = [
    "AccessDenied",
    "Conflict",
    "InvalidRequest",
    "LimitReached",
    "ProblemError",
    "Unavailable",
    *(found.__name__ for found in _classes.BY_NAME.values()),
]
