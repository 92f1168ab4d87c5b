"""Exceptions by which a handler controls how its failure is treated."""

import math

MAX_AFTER_S = 31_536_000
"""The longest delay that a handler may request, equal to the longest delay of a submitted job."""


class Permanent(Exception):
    """Fail the job at once, without retries: no later attempt can succeed.

    `type` is a short name, truncated to 200 characters, which statuses and lists show instead of "Permanent":

        raise Permanent("the card was declined", type="card-declined")
    """

    def __init__(self, message: str, type: str | None = None) -> None:  # noqa: A002 - the public field's name
        super().__init__(message)
        self.message = message
        self.type = type


class RetryLater(Exception):
    """Fail the attempt and delay the next one by at least `after_s` seconds.

    It counts as a failure, so `max_attempts` still applies:

        raise RetryLater(30, "the external API asked us to slow down")

    A negative delay means 0. Raise `TypeError` for a delay that is not a number, and `ValueError` for one that is not
    finite or exceeds a year.
    """

    def __init__(self, after_s: float, message: str = "") -> None:
        if isinstance(after_s, bool) or not isinstance(after_s, int | float):
            raise TypeError(f"after_s must be a number of seconds, not {type(after_s).__name__}")
        if not math.isfinite(after_s):
            raise ValueError(f"after_s must be a finite number of seconds, not {after_s}")
        if after_s > MAX_AFTER_S:
            raise ValueError(f"after_s must be at most {MAX_AFTER_S:,} seconds (a year), not {after_s:g}")
        super().__init__(message or f"retry in {after_s:g} s")
        self.message = str(self.args[0])
        self.after_s = max(0.0, float(after_s))
