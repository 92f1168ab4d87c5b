"""The job and the ledger of a test, moved by the transitions and rules of the service."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from acked.definition import KindDefinition
from acked.testing.clock import VirtualClock
from acked_common.model import ledger_rules, lifecycle, lifecycle_waits
from acked_common.model.ledger import (
    AlreadyKept,
    Fenced,
    InboxFull,
    JobLedger,
    LedgerFull,
    LedgerWrite,
    Opening,
    Repeated,
    Signal,
    SignalGone,
    SignalPush,
)
from acked_common.model.lifecycle import Move, Owner, Reason, Seen, State, Transition
from acked_common.model.lifecycle_waits import Waits
from acked_common.model.options import NO_OPTIONS
from acked_common.model.principal import DEFAULT_TENANT
from acked_common.outcomes import outcome_rules
from acked_common.outcomes.outcome import Ending, Parked
from acked_common.outcomes.outcome_rules import Defaults, transition_after
from acked_common.store.records import ClaimedJob, KindRecord

JOB_ID = UUID("00000000-0000-7000-8000-000000000000")
LEASE_S = 30.0
GRACE_S = 10.0
DEFAULTS = Defaults(grace_s=GRACE_S, expires_in_s=30 * 86_400.0, retention_s=7 * 86_400.0)
WORKER = "kit"


class SignalRefused(Exception):
    """A signal can't be sent to the job; the message gives the reason."""


def kind_record(kind: KindDefinition) -> KindRecord:
    """Return the kind as the rules of outcomes need it."""
    options = kind.options
    return KindRecord(
        name=kind.name,
        lane=options.lane or kind.name,
        version=options.version,
        timeout_s=options.timeout_s,
        max_attempts=options.max_attempts,
        backoff_base_s=options.backoff_base_s,
        backoff_cap_s=options.backoff_cap_s,
        bundle=options.bundle or 1,
        payload_schema=None,
        seen_at=None,
        max_attempts_limit=options.max_attempts_limit,
        timeout_limit_s=options.timeout_limit_s,
        schemas=(),
    )


class KitLedger:
    """A ledger in memory, changed by the rules of the service alone."""

    def __init__(self) -> None:
        self.now: JobLedger | None = None

    def open(self, job: ClaimedJob, version: str) -> JobLedger | Fenced:
        """Open it for an attempt."""
        opening = Opening(JOB_ID, DEFAULT_TENANT, job.run, job.attempt, job.nonce, version)
        found = ledger_rules.opened(self.now, opening)
        if isinstance(found, JobLedger):
            self.now = found
        return found

    def write(self, write: LedgerWrite) -> JobLedger | Fenced | AlreadyKept | SignalGone | LedgerFull:
        """Keep one entry."""
        found = ledger_rules.written(self.now, write)
        if isinstance(found, JobLedger):
            self.now = found
        return found

    def push(self, signal: Signal) -> int:
        """Keep a signal, and return its number; 0 for a known id. Raise `SignalRefused` if the inbox is full."""
        pushed = ledger_rules.pushed(self.now, SignalPush(JOB_ID, DEFAULT_TENANT, signal))
        if isinstance(pushed, InboxFull):
            raise SignalRefused(f"the inbox is full: {pushed.limit}")
        if isinstance(pushed, Repeated):
            return 0
        self.now = ledger_rules.announced(pushed, pushed.in_seq)
        return pushed.in_seq


class KitJob:
    """One job: its lifecycle fields as a store has them, and its ledger."""

    def __init__(self, payload: bytes, clock: VirtualClock) -> None:
        self._clock = clock
        self._payload = payload
        self._fields: dict[str, Any] = {
            "state": State.QUEUED,
            "rev": 1,
            "run": 1,
            "attempt": 0,
            "failures": 0,
            "crashes": 0,
            **lifecycle.queue_fields(clock.now(), GRACE_S, DEFAULTS.expires_in_s),
        }
        self._signals = 0
        self.ledger = KitLedger()
        self.progress: list[dict[str, Any]] = []
        self.reasons: list[Reason] = []
        """Why it moved, oldest first."""

    @property
    def state(self) -> State:
        """The state."""
        return State(self._fields["state"])

    @property
    def attempt(self) -> int:
        """The number of the newest attempt."""
        return int(self._fields["attempt"])

    @property
    def failures(self) -> int:
        """Failed attempts."""
        return int(self._fields["failures"])

    @property
    def next_at(self) -> datetime | None:
        """When the sweeper moves the job: at the end of a wait or of a back-off; None in other states."""
        if self.state not in (State.WAITING, State.SCHEDULED):
            return None
        due: datetime = self._fields["next_check_at"]
        return due

    @property
    def waits(self) -> Waits | None:
        """Why the job is parked."""
        return lifecycle_waits.waits_from(self._fields.get("waits"))

    @property
    def result(self) -> bytes | None:
        """The JSON text of its result."""
        return self._fields.get("result")

    @property
    def error(self) -> Mapping[str, Any] | None:
        """Its newest error, which a success removes."""
        return self._fields.get("error")

    def become_due(self) -> None:
        """Queue the job, whose wait or back-off has ended."""
        apply = lifecycle_waits.wake if self.state is State.WAITING else lifecycle.become_due
        self._move(apply(at=self._clock.now(), grace_s=GRACE_S, expires_in_s=DEFAULTS.expires_in_s))

    def claim(self) -> ClaimedJob:
        """Claim the job, as a worker does."""
        at = self._clock.now()
        nonce = f"claim-{self.attempt + 1}"
        self._move(lifecycle.claim(at=at, owner=Owner(WORKER, WORKER, nonce), lease_s=LEASE_S))
        return ClaimedJob(
            id=JOB_ID,
            kind="",
            payload=self._payload,
            rev=self._fields["rev"],
            run=self._fields["run"],
            attempt=self.attempt,
            failures=self.failures,
            crashes=self._fields["crashes"],
            nonce=nonce,
            started_at=at,
            options=NO_OPTIONS,
            cancel_requested_at=None,
            suspect="suspect" in self._fields,
            tenant=DEFAULT_TENANT,
        )

    def lose_worker(self) -> None:
        """Take the job back, as the sweeper does when the lease of a killed worker has expired."""
        at = self._clock.now()
        self._move(lifecycle.take_back(at=at, grace_s=GRACE_S, expires_in_s=DEFAULTS.expires_in_s))

    def record(self, ending: Ending, job: ClaimedJob, kind: KindRecord) -> None:
        """Record the ending of an attempt. A park that has missed a signal queues the job again."""
        at = self._clock.now()
        transition = transition_after(ending, job, kind, DEFAULTS, worker=WORKER, cancelling=False, at=at)
        if transition is None:
            return
        if isinstance(ending, Parked) and self._signals > ending.in_seq:
            transition = outcome_rules.after_signal(job, DEFAULTS, at)
        self._move(transition)

    def send(self, signal_id: str, name: str, value: bytes) -> None:
        """Push a signal and announce it, as the gateway does. Raise `SignalRefused` if it can't be sent."""
        if self.state.is_terminal:
            raise SignalRefused(f"the job is {self.state.value}; a signal {name!r} can't reach it")
        in_seq = self.ledger.push(Signal(signal_id, name, value, self._clock.now()))
        self._signals = max(self._signals, in_seq)
        if in_seq and self.waits is not None and self.waits.wakes_on(name):
            at = self._clock.now()
            self._move(
                lifecycle_waits.wake(
                    at=at, grace_s=GRACE_S, expires_in_s=DEFAULTS.expires_in_s, reason=Reason.SIGNALLED
                )
            )

    def _move(self, transition: Transition) -> None:
        rev, attempt = self._fields["rev"], self._fields["attempt"]
        move = Move(Seen(JOB_ID, self.state, rev, attempt), transition)
        fields = {**self._fields, **move.transition.sets, "state": transition.to, "rev": move.history_entry.rev}
        for name, by in transition.adds.items():
            fields[name] += by
        for name in transition.clears:
            fields.pop(name, None)
        self._fields = fields
        self.reasons.append(transition.reason)
