"""What must hold: at each transition, and when everything has come to rest. I1 to I8 of the fault tests' invariants."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from acked_common.model.attempts import ATTEMPTS_KEPT, AttemptOutcome
from acked_common.model.audit import AuditAction
from acked_common.model.bundle import Bundle
from acked_common.model.lifecycle import HISTORY_KEPT, Reason, State
from acked_common.model.poison import MAX_CRASHES
from simulation.bulk_actions import check_bulk_actions
from simulation.handlers import MAX_ATTEMPTS, Effect
from simulation.scale import CLOCK_MARGIN, REPUBLISH_AGAIN

if TYPE_CHECKING:
    from simulation.simulator import Simulator

Document = Mapping[str, Any]

BY_OWNER = frozenset(
    {
        Reason.COMPLETED,
        Reason.PERMANENT_ERROR,
        Reason.ATTEMPTS_EXHAUSTED,
        Reason.BACKING_OFF,
        Reason.DRAINED,
        Reason.NOT_STARTED,
        Reason.CRASHED,
        Reason.POISON,
        Reason.PARKED,
    }
)
"""Only the process that owns the attempt makes these."""
FAILURES = frozenset({Reason.PERMANENT_ERROR, Reason.ATTEMPTS_EXHAUSTED, Reason.BACKING_OFF})
CRASHES = frozenset({Reason.CRASHED, Reason.POISON})
BY_PERSONS = frozenset({Reason.RETRIED, Reason.RESOLVED, Reason.ERASED})
"""Only these leave an end."""
ACTS: Mapping[str, AuditAction] = {
    Reason.CANCELLED: AuditAction.CANCEL,
    Reason.CANCEL_REQUESTED: AuditAction.CANCEL,
    Reason.RETRIED: AuditAction.RETRY,
    Reason.RESOLVED: AuditAction.RESOLVE,
    Reason.RUN_NOW: AuditAction.RUN_NOW,
    Reason.ERASED: AuditAction.ERASE,
}
"""What a person asked for where their name stands in the history."""
DANGEROUS = frozenset({AttemptOutcome.LOST.value, AttemptOutcome.CRASHED.value})
KEPT: Mapping[str, set[str]] = {
    **{reason: {AttemptOutcome.FAILED.value, AttemptOutcome.TIMED_OUT.value} for reason in FAILURES},
    **{reason: {AttemptOutcome.CRASHED.value} for reason in CRASHES},
    Reason.LEASE_EXPIRED: {AttemptOutcome.LOST.value},
}
"""How an attempt has ended that stays with its job, by why the job moved. A cancel says nothing of its attempt."""


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not happen."""

    rule: str
    text: str
    job_id: UUID | None = None


@dataclass(slots=True)
class Watched:
    """What was seen of one job."""

    document: Document
    number: int
    exits: dict[int, str] = field(default_factory=dict)
    """By attempt, why it ended."""
    claimed_at: dict[int, float] = field(default_factory=dict)
    claimed_by: dict[int, str] = field(default_factory=dict)
    failures: Counter[int] = field(default_factory=Counter)
    """By run."""
    crashes: Counter[int] = field(default_factory=Counter)
    """By run."""
    dangerous: set[int] = field(default_factory=set)
    """Attempts that were lost or crashed."""
    suspected: set[int] = field(default_factory=set)
    """Attempts that had to run alone in a process."""
    ends: Counter[int] = field(default_factory=Counter)
    """By run."""
    first_end_at: float = math.inf
    queued_since: float = 0.0
    lasts_s: float = 0.0
    """How long it may wait, as it was queued."""
    confirmed: int = 0
    """Publications that were confirmed since it was queued."""


class Observer:
    """Sees every transition as the store makes it."""

    def __init__(self, simulator: "Simulator") -> None:
        self._simulator = simulator
        self.jobs: dict[UUID, Watched] = {}
        self.live = 0

    def confirmed(self, bundle: Bundle) -> None:
        """A publication was confirmed."""
        for job_id in bundle.ids:
            watched = self.jobs.get(job_id)
            if watched is not None and watched.document["state"] == State.QUEUED.value:
                watched.confirmed += 1
                self._check_flood(job_id, watched)

    def _check_flood(self, job_id: UUID, watched: Watched) -> None:
        """While it is queued a job is published once, and again by one of all sweepers, ever more rarely."""
        simulator = self._simulator
        waited_s = simulator.loop.time() - watched.queued_since
        # Two sweepers or two clicks that queue a job in the same millisecond can't be distinguished: both publish it.
        most = 1.0 + (watched.document["reason"] in (Reason.DUE, Reason.RUN_NOW))
        # Workers refused it as expired, perhaps, before a sweeper knew of the pause.
        most += simulator.pauses.was_paused(watched.document["kind"], watched.queued_since)
        if not simulator.plan.is_calm:
            # Of all sweepers one gets a lost job.
            most = 3 + math.log2(1 + waited_s / REPUBLISH_AGAIN.base_s)
        if watched.confirmed > most:
            self._broken("flood", f"was published {watched.confirmed} times in {waited_s:.1f} s", job_id)

    def saw(self, document: Document) -> None:
        """A job was inserted or has moved; `document` is how it is now."""
        job_id = document["_id"]
        watched = self.jobs.get(job_id)
        state, reason = State(document["state"]), document["reason"]
        self._simulator.note(self._author(), f"rev {document['rev']} {state.value}: {reason}", job_id)
        if watched is None:
            number = json.loads(document["payload"])["n"]
            watched = self.jobs[job_id] = Watched(document, number)
            self.live += 1
            if document["rev"] != 1:
                self._broken("I2", f"begins with rev {document['rev']}", job_id)
        else:
            before, watched.document = watched.document, document
            self._check_move(watched, before, document)
        if state is State.WAITING:
            self._simulator.long.parked(job_id)
        if state is State.QUEUED:
            watched.queued_since, watched.confirmed = self._simulator.loop.time(), 0
            watched.lasts_s = (document["expires_at"] - document["queued_at"]).total_seconds()

    def _author(self) -> str:
        return self._simulator.acting.name if self._simulator.acting is not None else "?"

    def _broken(self, rule: str, text: str, job_id: UUID | None = None) -> None:
        self._simulator.broken(rule, text, job_id)

    def _check_move(self, watched: Watched, before: Document, after: Document) -> None:
        job_id, reason = after["_id"], after["reason"]
        was, now = State(before["state"]), State(after["state"])
        at = self._simulator.time()
        if after["rev"] != before["rev"] + 1:
            self._broken("I2", f"rev {before['rev']} is followed by {after['rev']}", job_id)
        if len(after["history"]) != min(after["rev"] - 1, HISTORY_KEPT) or after["history"][-1]["rev"] != after["rev"]:
            self._broken("I2", "the history has a gap", job_id)
        if ("wake" in after) == now.is_terminal:
            self._broken("I7", f"is {now.value} with{'' if 'wake' in after else 'out'} a wake", job_id)
        if was.is_terminal and not _may_leave_its_end(was, now, reason):
            self._broken("I2", f"was {was.value} and became {now.value}", job_id)
        self._check_audited(after)
        if "cancel_requested_at" in before and reason not in (Reason.COMPLETED, Reason.CANCELLED):
            self._broken("cancel", f"was to be cancelled and became {now.value} ({reason})", job_id)
        self.live += was.is_terminal - now.is_terminal
        if now.is_terminal and reason != Reason.ERASED:
            watched.ends[after["run"]] += 1
            watched.first_end_at = min(watched.first_end_at, self._simulator.loop.time())
            if watched.ends[after["run"]] > 1:
                self._broken("I2", f"run {after['run']} has ended twice", job_id)
        if reason in FAILURES:
            watched.failures[after["run"]] += 1
        if reason in CRASHES:
            watched.crashes[after["run"]] += 1
            if (job_id, before["attempt"]) not in self._simulator.crashes:
                self._broken("crashes", f"attempt {before['attempt']} is {reason}, and ended no process", job_id)
        self._check_attempt(watched, before, after)
        self._check_kept(before, after)
        if reason == Reason.EXPIRED:
            self._simulator.pauses.expired(job_id, after["kind"], watched.queued_since, watched.lasts_s)
        if reason == Reason.DUE and before["due_at"] > at + CLOCK_MARGIN:
            self._broken("time", "was queued before it was due", job_id)

    def _check_audited(self, after: Document) -> None:
        """Whatever a person has moved was noted before."""
        entry = after["history"][-1]
        if "by" not in entry:
            return
        noted = self._simulator.store.audit().entries
        act, via = ACTS[after["reason"]], entry["by"]["via"]
        if via.startswith("bulk:"):
            if not any(one.target.get("bulk") == via.removeprefix("bulk:") for one in noted):
                self._broken("audit", f"{act} by {via} was not noted before", after["_id"])
            if [one["by"]["via"] for one in after["history"] if "by" in one].count(via) > 1:
                self._broken("bulk", f"was moved twice by {via}", after["_id"])
            return
        if not any(one.target.get("job") == str(after["_id"]) and one.action == act for one in noted):
            self._broken("audit", f"{act} by {entry['by']['client']} was not noted before", after["_id"])

    def _check_attempt(self, watched: Watched, before: Document, after: Document) -> None:
        job_id, reason, attempt = after["_id"], after["reason"], before["attempt"]
        was, now = State(before["state"]), State(after["state"])
        is_claim = reason == Reason.CLAIMED
        if after["attempt"] != attempt + is_claim:
            self._broken("I3", f"attempt {attempt} is followed by {after['attempt']} ({reason})", job_id)
        if is_claim:
            if was is not State.QUEUED:
                self._broken("I3", f"was claimed while {was.value}", job_id)
            watched.claimed_at[after["attempt"]] = self._simulator.loop.time()
            watched.claimed_by[after["attempt"]] = after["owner"]["worker"]
            self._simulator.long.watch.claimed(after)
            self._simulator.pauses.claimed(job_id, after["kind"], after["owner"]["nonce"])
            if attempt in watched.dangerous:
                watched.suspected.add(after["attempt"])
            return
        if was is not State.RUNNING or now is State.RUNNING:
            return
        watched.exits[attempt] = reason
        kept = after.get("attempts", [])
        if kept and kept[-1]["attempt"] == attempt and kept[-1]["outcome"] in DANGEROUS:
            watched.dangerous.add(attempt)
        if reason == Reason.LEASE_EXPIRED:
            self._simulator.ownership.taken_back(job_id, attempt, before["owner"]["worker"])
        if reason == Reason.LEASE_EXPIRED and before["wake"] > self._simulator.time():
            self._broken(
                "I4", f"was taken back {before['wake'] - self._simulator.time()} before its lease was over", job_id
            )
        author, owner = self._author(), before["owner"]["worker"]
        if (reason in BY_OWNER or reason == Reason.SIGNALLED) and author != owner:
            self._broken("I3", f"attempt {attempt} of {owner} was recorded by {author} ({reason})", job_id)
        if reason == Reason.COMPLETED:
            result = json.loads(after["result"])
            values = result.pop("values", [])
            if len(values) != self._simulator.long.parts_of(watched.number) or result != {
                "n": watched.number,
                "attempt": attempt,
                "process": owner,
            }:
                self._broken("I3", f"attempt {attempt} of {owner} has the result {result}", job_id)

    def _check_kept(self, before: Document, after: Document) -> None:
        """Each attempt without success stands among those that the job keeps, in order, and no other one."""
        reason = after["reason"]
        earlier, kept = before.get("attempts", []), after.get("attempts", [])
        if reason == Reason.ERASED:
            earlier, expected = [], set()
        elif reason == Reason.CANCELLED and before["state"] == State.RUNNING.value:
            is_owner = self._author() == before["owner"]["worker"]
            expected = set(AttemptOutcome) - {AttemptOutcome.LOST} if is_owner else {AttemptOutcome.LOST}
            expected = expected if len(kept) > len(earlier) or not is_owner else set()
        else:
            expected = KEPT.get(reason, set())
        if not expected:
            if kept != earlier:
                self._broken("attempts", f"keeps {kept[-1:]} after {reason}", after["_id"])
            return
        newest = {
            "run": before["run"],
            "attempt": before["attempt"],
            "worker": before["owner"]["worker"],
            "started_at": before["started_at"],
            "ended_at": after["history"][-1]["at"],
        }
        if (
            not kept
            or kept[:-1] != earlier[-ATTEMPTS_KEPT + 1 :]
            or kept[-1]["outcome"] not in expected
            or not newest.items() <= kept[-1].items()
        ):
            self._broken("attempts", f"keeps {kept[-1:]} of {newest} after {reason}", after["_id"])


def _may_leave_its_end(was: State, now: State, reason: str) -> bool:
    if reason == Reason.ERASED:
        return now is was
    return (was is State.FAILED and reason in BY_PERSONS) or (was is State.CANCELLED and reason == Reason.RETRIED)


# What may end a job as failed, and what must be true then. A lost worker is none of it.
EXPLAINED_FAILURES = frozenset(
    {
        *(Reason.PERMANENT_ERROR, Reason.ATTEMPTS_EXHAUSTED, Reason.EXPIRED, Reason.RESOLVED, Reason.POISON),
        Reason.ERASED,
    }
)


def check_at_rest(simulator: "Simulator") -> None:
    """What must hold when all faults are over and nothing moves any more."""
    effects: dict[UUID, list[Effect]] = defaultdict(list)
    for effect in simulator.effects:
        effects[effect.job_id].append(effect)
    for job_id, watched in simulator.observer.jobs.items():
        _check_job(simulator, job_id, watched, effects[job_id])
        _check_overlaps(simulator, job_id, watched, effects[job_id])
    _check_submissions(simulator)
    check_bulk_actions(simulator)
    if waiting := simulator.broker.ready() + simulator.broker.unacked:
        simulator.broken("I8", f"{waiting} bundles are left on the broker")
    for node in simulator.nodes:
        held = {} if node.process.is_dead else node.held()
        if left := {what: count for what, count in held.items() if count}:
            simulator.broken("rest", f"{node.process.name} still holds {left}")


def _check_job(simulator: "Simulator", job_id: UUID, watched: Watched, effects: list[Effect]) -> None:
    document = watched.document
    state, reason = State(document["state"]), document["reason"]
    if not state.is_terminal:
        if watched.number not in simulator.long.stories or not simulator.long.rests(document):
            simulator.broken("I1", f"is still {state.value} ({reason})", job_id)
        return
    run = document["run"]
    if reason == Reason.COMPLETED and not [e for e in effects if e.attempt == document["attempt"] and e.end == "ok"]:
        simulator.broken("I4", f"succeeded, but attempt {document['attempt']} has had no effect", job_id)
    if state is State.FAILED and reason not in EXPLAINED_FAILURES:
        simulator.broken("crashes", f"failed as {reason}", job_id)
    if reason == Reason.ATTEMPTS_EXHAUSTED:
        most = simulator.clients.submissions[watched.number].submission.options.max_attempts or MAX_ATTEMPTS
        stalled = simulator.long.watch.stalled(job_id, run, watched.failures[run])
        if stalled != most:
            simulator.broken("crashes", f"failed after {stalled} failures of {most} without progress", job_id)
    if reason == Reason.POISON:
        crashed = simulator.long.watch.crashed(job_id, run, watched.crashes[run])
        if crashed != MAX_CRASHES:
            simulator.broken("crashes", f"is poison after {crashed} crashes of its process without progress", job_id)
    for effect in effects:
        if effect.attempt in watched.suspected and not effect.is_alone:
            simulator.broken("suspects", f"attempt {effect.attempt} of a suspect ran beside others", job_id)
        if effect.is_alone and not any(n < effect.attempt for n in watched.dangerous):
            simulator.broken("suspects", f"attempt {effect.attempt} ran alone, and nobody was lost before", job_id)
    for attempt in (attempt for attempt, why in watched.exits.items() if why in FAILURES):
        had = [e for e in effects if e.attempt == attempt and (e.end != "ok" or e.ended_at - e.begun_at > 1.0)]
        if not had:
            simulator.broken("crashes", f"attempt {attempt} counts as failed, but no handler has failed", job_id)
    if simulator.plan.is_calm and Reason.LEASE_EXPIRED in watched.exits.values():
        simulator.broken("calm", "lost its lease although nothing went wrong", job_id)


def _check_overlaps(simulator: "Simulator", job_id: UUID, watched: Watched, effects: list[Effect]) -> None:
    twice = [attempt for attempt, count in Counter(e.attempt for e in effects).items() if count > 1]
    if twice:
        simulator.broken("I4", f"attempts {twice} have begun twice", job_id)
    for earlier in effects:
        for later in effects:
            if earlier.attempt >= later.attempt or earlier.gone_at <= later.begun_at:
                continue
            if later.attempt in earlier.held_beside and earlier.end in ("stopped", "?"):
                # Its process stood still for too long: its next step was to hear that it is over, or came no more.
                continue
            lingers = simulator.clients.scripts[watched.number].step(earlier.attempt).lingers_s > 0
            is_lost = earlier.attempt in watched.dangerous and watched.exits[earlier.attempt] not in CRASHES
            if not is_lost and not lingers:
                simulator.broken("I4", f"attempt {later.attempt} began while attempt {earlier.attempt} ran", job_id)


def _check_submissions(simulator: "Simulator") -> None:
    kept: dict[int, list[UUID]] = defaultdict(list)
    for job_id, watched in simulator.observer.jobs.items():
        kept[watched.number].append(job_id)
    for sent in simulator.clients.submissions:
        ids = kept.get(sent.number, [])
        if sent.answer == "accepted" and sent.job_id not in ids:
            simulator.broken("I1", f"submission {sent.number} got a 202 and is not there", sent.job_id)
        named = sent.job_ids | set(ids)
        if sent.key is not None and len(named) > 1:
            simulator.broken("I6", f"submission {sent.number} with a key became {len(named)} jobs", sent.job_id)
        elif len(ids) > 1:
            simulator.broken("I5", f"submission {sent.number} was kept {len(ids)} times", ids[1])
        if sent.answer == "refused" and ids:
            simulator.broken("I5", f"submission {sent.number} was refused and is there", ids[0])
        for job_id in ids:
            document = simulator.observer.jobs[job_id].document
            payload = b"null" if "erased_at" in document else sent.submission.payload
            if bytes(document["payload"]) != payload or document["kind"] != sent.submission.kind:
                simulator.broken("I5", f"submission {sent.number} is not kept as it was sent", job_id)
    for answer in simulator.clients.cancels:
        _check_cancel(simulator, answer.job_id, answer.answer, answer.at)


def _check_cancel(simulator: "Simulator", job_id: UUID, answer: str, at: float) -> None:
    watched = simulator.observer.jobs[job_id]
    reasons = [entry["reason"] for entry in watched.document["history"]]
    if answer == "cancelled" and Reason.CANCELLED not in reasons:
        simulator.broken("cancel", "was answered as cancelled and is not", job_id)
    if answer == "asked" and Reason.CANCEL_REQUESTED not in reasons:
        simulator.broken("cancel", "was answered as to be cancelled, and nobody was asked", job_id)
    if answer == "409" and watched.first_end_at > at:
        simulator.broken("cancel", "was answered 409 while it was live", job_id)
