"""What a handler raises to say how its failure is to be treated."""

import math


class Permanent(Exception):
    """The job can't succeed however often it is tried: it fails at once.

    `type` is a short name that status and lists show instead of "Permanent":

        raise Permanent("the card was declined", type="card-declined")
    """

    def __init__(self, message: str, type: str | None = None) -> None:  # noqa: A002 - the public field's name
        super().__init__(message)
        self.message = message
        self.type = type


class RetryLater(Exception):
    """The attempt failed, and the next one makes sense no sooner than `after_s` seconds from now (an hour at most).

    It counts as a failure, so `max_attempts` still ends the job:

        raise RetryLater(30, "the outside API asked us to slow down")

    A negative delay means now. A delay that is no finite number raises `TypeError` or `ValueError`.
    """

    def __init__(self, after_s: float, message: str = "") -> None:
        if isinstance(after_s, bool) or not isinstance(after_s, int | float):
            raise TypeError(f"after_s must be a number of seconds, not {type(after_s).__name__}")
        if not math.isfinite(after_s):
            raise ValueError(f"after_s must be a finite number of seconds, not {after_s}")
        super().__init__(message or f"try again in {after_s:g} s")
        self.message = str(self.args[0])
        self.after_s = max(0.0, float(after_s))
