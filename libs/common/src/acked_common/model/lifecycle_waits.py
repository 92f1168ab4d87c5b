"""Transitions of jobs that wait for an instant or a signal, without a worker. Pure.

A parked job has no owner, lease or message. `next_check_at` is the end of its wait. A signal to a running job raises
the job's `signals`; a park that has not read that signal is refused, so no signal is lost (see `Seen.signals`).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from acked_common.model.lifecycle import CLEARED, PARKED, Reason, State, Transition, queue_fields

WITHOUT_END = timedelta(days=365)
"""How long a job without an end of its wait is parked, before it is queued to wait again."""
ANY_SIGNAL = "*"
"""Stands for all names in `Waits.signals`. No signal has this name."""
NO_SIGNAL = ""
"""Stands for the jobs that no signal wakes."""
MOST_NAMES = 50
"""The maximum of names in `Waits.signals`; a job that waits for more is woken by any."""
ENDABLE = frozenset({"sleep", "try"})
"""The durable calls that an operator may end early: they wait only for an instant. To end a wait for a signal would
decide for the handler that none came."""


class Waits(Struct, frozen=True):
    """The reason why a job is parked."""

    call: str
    """The durable call that waits longest: `sleep`, `wait`, `first` or `try`."""
    name: str
    until_at: datetime | None = None
    """The earliest end of all waits; None if only a signal ends them."""
    signals: tuple[str, ...] = ()
    """The names of the signals that wake the job."""

    def wakes_on(self, name: str) -> bool:
        """Return whether a signal of this name wakes the job."""
        return name in self.signals or ANY_SIGNAL in self.signals


def waits_fields(waits: Waits) -> dict[str, Any]:
    """Return the value of a parked job's field `waits`."""
    fields: dict[str, Any] = {"call": waits.call, "name": waits.name}
    if waits.until_at is not None:
        fields["until_at"] = waits.until_at
    if waits.signals:
        fields["signals"] = sorted(set(waits.signals)) if len(set(waits.signals)) <= MOST_NAMES else [ANY_SIGNAL]
    return fields


def waits_from(fields: Mapping[str, Any] | None) -> Waits | None:
    """Return the reason from a parked job's field `waits`; None without the field."""
    if fields is None:
        return None
    return Waits(fields["call"], fields["name"], fields.get("until_at"), tuple(fields.get("signals", ())))


def park(*, at: datetime, waits: Waits) -> Transition:
    """End the attempt without an outcome until its wait ends. This is not a failure."""
    return Transition(
        Reason.PARKED,
        leaves=frozenset({State.RUNNING}),
        to=State.WAITING,
        at=at,
        sets={"waits": waits_fields(waits), "next_check_at": max(at, waits.until_at or at + WITHOUT_END)},
        clears=CLEARED,
        unless_cancelling=True,
    )


def wake(*, at: datetime, grace_s: float, expires_in_s: float, reason: Reason = Reason.WOKEN) -> Transition:
    """Queue a parked job, because its wait has ended (`WOKEN`) or a signal for it has come (`SIGNALLED`)."""
    return Transition(
        reason,
        leaves=frozenset({State.WAITING}),
        to=State.QUEUED,
        at=at,
        sets=queue_fields(at, grace_s, expires_in_s),
        clears=PARKED,
    )
