"""Jobs that crash their process: the limit of crashes, and the errors. Pure."""

from datetime import datetime, timedelta
from typing import Any

from acked_common.model.lifecycle import OWNED, Reason, State, Transition

MAX_CRASHES = 3
"""Crashes of one run without progress in between after which a job ends as poison."""


def crash(
    *,
    at: datetime,
    how: str,
    crashes: int,
    attempt: int,
    delay_s: float,
    retention_s: float,
    ends_at: int | None = None,
) -> Transition:
    """Retry a job that crashed its isolated process after `delay_s`, or fail it as poison.

    `how` describes the end of the process; `crashes` is the number of earlier crashes of this run since its last
    progress. `ends_at`: this is so many crashes of the run, after which it ends whatever its progress. The mark for
    isolation stays, so even an operator's retry runs isolated.
    """
    crashes += 1
    if crashes < MAX_CRASHES and ends_at is None:
        message = f"the handler ended its process ({how}); crash {crashes} of {MAX_CRASHES}"
        due_at = at + timedelta(seconds=delay_s)
        reason, to = Reason.CRASHED, State.SCHEDULED
        sets: dict[str, Any] = {"due_at": due_at, "next_check_at": due_at}
    else:
        message = (
            f"the handler ended its process {ends_at or crashes} times (the last time: {how}); it is not retried. "
            "Check it for growing memory, crashes in native code and os._exit; correct the handler, then retry the job."
        )
        reason, to = Reason.POISON, State.FAILED
        sets = {"finished_at": at, "delete_at": at + timedelta(seconds=retention_s)}
    error = {"type": "Crashed", "message": message, "retryable": to is State.SCHEDULED, "attempt": attempt}
    return Transition(
        reason,
        leaves=frozenset({State.RUNNING}),
        to=to,
        at=at,
        sets={**sets, "error": error},
        clears=OWNED if to is State.SCHEDULED else OWNED | {"next_check_at"},
        adds={"crashes": 1},
        unless_cancelling=True,
    )
