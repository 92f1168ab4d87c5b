"""A job that ends its process: how often it may, and what its error says. Pure."""

from datetime import datetime, timedelta
from typing import Any

from acked_common.model.lifecycle import OWNED, Reason, State, Transition

MAX_CRASHES = 3
"""Crashes in one run after which a job ends as poison."""


def crash(*, at: datetime, how: str, crashes: int, attempt: int, delay_s: float, retention_s: float) -> Transition:
    """A suspect ended the process in which it ran alone: try it again after `delay_s`, or end it as poison.

    `how` says how the process ended, `crashes` how often that happened before in this run. The job stays a suspect,
    after its end too: an operator's retry runs alone again.
    """
    crashes += 1
    if crashes < MAX_CRASHES:
        message = f"the handler ended its process ({how}); crash {crashes} of {MAX_CRASHES}"
        due_at = at + timedelta(seconds=delay_s)
        reason, to = Reason.CRASHED, State.SCHEDULED
        sets: dict[str, Any] = {"due_at": due_at, "next_check_at": due_at}
    else:
        message = (
            f"the handler ended its process {crashes} times (the last time: {how}); nothing tries it again. Look for "
            "memory that grows, crashes in native code and os._exit; mend the handler, then retry the job."
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
