"""What a handler raises to say how its failure is to be treated."""

import math

MAX_AFTER_S = 31_536_000
"""The longest wait that a handler may ask for: as long as a request may ask to be delayed."""


class Permanent(Exception):
    """The job can't succeed however often it is tried: it fails at once.

    `type` is a short name that status and lists show instead of "Permanent", at most 200 characters of it:

        raise Permanent("the card was declined", type="card-declined")
    """

    def __init__(self, message: str, type: str | None = None) -> None:  # noqa: A002 - the public field's name
        super().__init__(message)
        self.message = message
        self.type = type


class RetryLater(Exception):
    """The attempt failed, and the next one makes sense no sooner than `after_s` seconds from now.

    It counts as a failure, so `max_attempts` still ends the job:

        raise RetryLater(30, "the outside API asked us to slow down")

    A negative delay means now. A delay that is no finite number, or of more than a year, raises `TypeError` or
    `ValueError`.
    """

    def __init__(self, after_s: float, message: str = "") -> None:
        if isinstance(after_s, bool) or not isinstance(after_s, int | float):
            raise TypeError(f"after_s must be a number of seconds, not {type(after_s).__name__}")
        if not math.isfinite(after_s):
            raise ValueError(f"after_s must be a finite number of seconds, not {after_s}")
        if after_s > MAX_AFTER_S:
            raise ValueError(f"after_s must be at most {MAX_AFTER_S:,} seconds (a year), not {after_s:g}")
        super().__init__(message or f"try again in {after_s:g} s")
        self.message = str(self.args[0])
        self.after_s = max(0.0, float(after_s))
