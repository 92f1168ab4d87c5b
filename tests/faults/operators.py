"""Operators of an experiment: they move many jobs, run jobs now and pause kinds, whatever is broken meanwhile.

What a gateway does not confirm is asked for again. Jobs that are to move have a group of their own, a tag by which a
bulk action finds them. Commands may go on in threads, beside the faults.
"""

import http.client
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import Any

from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from acked_common.model.bulk_actions import BulkVerb
from acked_common.model.lifecycle import LIVE, Reason, State
from faults.evidence import Command, Pause, Standing, takes_effect_at
from support.stacks import Answer, TestStack, eventually

ANSWERED_WITHIN_S = 8.0
INSISTS_S = 120.0
"""Until a gateway confirms; servers that were killed are back long before."""
GATEWAYS = ("gateway-1", "gateway-2")
PAUSED_WITHIN_S = 3.0
"""From the confirmed pause to the last start. Two seconds are promised; a busy machine adds to them."""
REASONS = {BulkVerb.RETRY: Reason.RETRIED, BulkVerb.RUN_NOW: Reason.RUN_NOW}
LATE_S = 5.0
"""How late a command may take effect whose answer was lost."""
BUSY = frozenset({429, 503})


class Desk:
    """Where operators ask gateways, and look past them at MongoDB."""

    def __init__(self, stack: TestStack, jobs: Any, batch: str) -> None:
        """`jobs` is the collection, past all proxies."""
        self.stack = stack
        self.batch = batch
        self._jobs = jobs.with_options(read_concern=ReadConcern("majority"))

    def ask(self, method: str, path: str, body: Any = None, *, to: str = "gateway") -> Answer:
        """Asks until a gateway responds, and does not say that it can't just now."""

        def answered() -> Answer | None:
            answer = self.once(method, path, body, to)
            return None if answer is None or answer.status in BUSY else answer

        found: Answer = eventually(answered, within_s=INSISTS_S, what=f"{method} {path} is answered")
        return found

    def once(self, method: str, path: str, body: Any, to: str = "gateway") -> Answer | None:
        """The answer; None where it did not come."""
        try:
            return self.stack.call(method, path, body, to=to, timeout_s=ANSWERED_WITHIN_S)
        except (OSError, http.client.HTTPException):
            # The gateway is away, or has died in the middle of its answer.
            return None

    def ids(self, group: str, *states: State) -> frozenset[str]:
        """Jobs of a group that are in some states. Raises `PyMongoError`."""
        wanted = {"batch": self.batch, "tags": group, "state": {"$in": [state.value for state in states]}}
        return frozenset(str(document["_id"]) for document in self._jobs.find(wanted, {"_id": True}))

    def wait_settled(self, group: str) -> None:
        """Returns when no job of the group waits for a worker or runs."""
        moving = sorted(LIVE - {State.SCHEDULED})
        eventually(
            unless_away(lambda: not self.ids(group, *moving)), within_s=INSISTS_S, what=f"all of {group} have run"
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """A dry run: its jobs, and its token."""

    verb: BulkVerb
    wanted: dict[str, Any]
    ids: frozenset[str]
    token: str


@dataclass(slots=True)
class Ordered:
    """A bulk action that was asked for; `reason` finds it in the list."""

    verb: BulkVerb
    reason: str
    ids: frozenset[str]
    is_aborted: bool = False


class BulkDesk:
    """Bulk actions of one experiment."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._numbers = count(1)
        self._ordered: list[Ordered] = []

    def plan(self, verb: BulkVerb, group: str, state: State) -> Plan:
        """Makes a dry run over the jobs of a group that are in a state: all of them, and no other."""
        wanted = {
            "action": verb.value,
            "filter": {"batch": self._desk.batch, "tag": group, "state": state.value},
        }

        def planned() -> Plan | None:
            ids = self._desk.ids(group, state)
            preview = self._desk.ask("POST", "/bulk-actions", {**wanted, "dry_run": True})
            assert preview.status == 200, preview.raw
            is_all = preview.body["count"] == len(ids)
            return Plan(verb, wanted, ids, preview.body["plan"]) if is_all else None

        found: Plan = eventually(unless_away(planned), within_s=INSISTS_S, what=f"a plan names all of {group}")
        return found

    def order(self, plan: Plan, rate_per_s: float) -> Ordered:
        """Asks for a bulk action until it is in the list."""
        ordered = Ordered(plan.verb, f"{self._desk.batch} {next(self._numbers)}", plan.ids)
        body = {**plan.wanted, "plan": plan.token, "rate_per_s": rate_per_s, "reason": ordered.reason}

        def is_listed() -> bool:
            if not self._listed(ordered):
                answer = self._desk.once("POST", "/bulk-actions", body)
                assert answer is None or answer.status == 202 or answer.status in BUSY, answer.raw
            return bool(self._listed(ordered))

        eventually(is_listed, within_s=INSISTS_S, what="the bulk action is listed")
        self._ordered.append(ordered)
        return ordered

    @property
    def newest(self) -> Ordered:
        """The one that was asked for last."""
        return self._ordered[-1]

    def wait_done(self, ordered: Ordered, share: float) -> None:
        """Returns when it says that it has moved this share of its jobs."""
        wanted = int(len(ordered.ids) * share)
        eventually(lambda: self._done(ordered) >= wanted, within_s=INSISTS_S, what=f"{wanted} jobs have moved")

    def wait_ended(self, ordered: Ordered, to: str = "gateway") -> int:
        """Returns when it has ended, with the number of jobs that it has moved."""
        eventually(
            lambda: all(one["ended_at"] for one in self._listed(ordered, to)),
            within_s=INSISTS_S,
            what="the bulk action has ended",
        )
        return self._done(ordered, to)

    def wait_all_ended(self) -> None:
        """Returns when all have ended that were asked for."""
        for ordered in self._ordered:
            self.wait_ended(ordered)

    def abort(self, ordered: Ordered, to: str) -> None:
        """Asks one gateway for its end."""
        ordered.is_aborted = True
        for one in self._listed(ordered, to):
            answer = self._desk.ask("POST", f"/bulk-actions/{one['id']}/abort", to=to)
            assert answer.status == 200, answer.raw

    def owner(self, ordered: Ordered) -> str:
        """The gateway that carries a bulk action out, the only one that is under way. Fails where it has ended."""

        def found() -> str | None:
            assert not all(one["ended_at"] for one in self._listed(ordered)), "it has ended too early"
            return next((name for name in GATEWAYS if self._holds(name)), None)

        return str(eventually(found, within_s=INSISTS_S, what="a gateway carries the action out"))

    def commands(self) -> list[Command]:
        """What was asked for, with how it stands."""
        return [
            Command(
                REASONS[ordered.verb].value,
                ordered.ids,
                tuple(
                    Standing(one["id"], one["state"], one["done"], sum(one["refused"].values()))
                    for one in self._listed(ordered)
                ),
                ordered.is_aborted,
            )
            for ordered in self._ordered
        ]

    def _done(self, ordered: Ordered, to: str = "gateway") -> int:
        return sum(one["done"] for one in self._listed(ordered, to))

    def _listed(self, ordered: Ordered, to: str = "gateway") -> list[Any]:
        listed = self._desk.ask("GET", "/bulk-actions?page_size=100", to=to).body["bulk_actions"]
        return [one for one in listed if one.get("reason") == ordered.reason]

    def _holds(self, gateway: str) -> bool:
        stack = self._desk.stack
        is_ready = stack.stack.parts.readiness(gateway) in ("ready", "degraded")
        return is_ready and stack.metric("acked_bulk_actions", to=gateway) > 0


@dataclass(slots=True)
class Paused:
    """A pause that a gateway has confirmed."""

    kind: str
    confirmed_at: float
    until_at: float = float("inf")


class PauseDesk:
    """Pauses of one experiment."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._paused: list[Paused] = []
        self.disturbed: list[tuple[float, float]] = []
        """When workers may have been unable to learn of a pause: begins and ends."""

    def pause(self, kind: str) -> Paused:
        """Pauses a kind; returns when a gateway has confirmed it."""
        answer = self._desk.ask("POST", f"/kinds/{kind}/pause", {"reason": self._desk.batch})
        assert answer.status == 200, answer.raw
        paused = Paused(kind, time.time())
        self._paused.append(paused)
        return paused

    def resume(self, paused: Paused) -> None:
        """Ends a pause."""
        paused.until_at = min(paused.until_at, time.time())
        answer = self._desk.ask("POST", f"/kinds/{paused.kind}/resume")
        assert answer.status == 200, answer.raw

    def resume_all(self) -> None:
        """Ends all of them."""
        for paused in self._paused:
            self.resume(paused)

    def seen(self) -> list[Pause]:
        """Those that lasted long enough to take effect."""
        found = [
            Pause(p.kind, takes_effect_at(p.confirmed_at, PAUSED_WITHIN_S, self.disturbed), p.until_at)
            for p in self._paused
        ]
        return [pause for pause in found if pause.from_at < pause.until_at]


class Operators:
    """All operators of one experiment."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.bulk = BulkDesk(desk)
        self.pauses = PauseDesk(desk)
        self._threads = ThreadPoolExecutor(16, thread_name_prefix="operator")
        self._work: list[Future[None]] = []
        self._groups: list[tuple[BulkVerb, str, State]] = []
        self._one_by_one: list[Command] = []
        self._one_pause = threading.Lock()

    def keep_moving(self, verb: BulkVerb, group: str, state: State, rate_per_s: float) -> None:
        """In a thread: moves all jobs of a group once they are in a state; and at the end those that came late."""

        def move() -> None:
            self.desk.wait_settled(group)
            if (plan := self.bulk.plan(verb, group, state)).ids:
                self.bulk.order(plan, rate_per_s)

        self.move_at_the_end(verb, group, state)
        self._work.append(self._threads.submit(move))

    def move_at_the_end(self, verb: BulkVerb, group: str, state: State) -> None:
        """Moves those jobs of a group that are in a state when all else is over: their clients had no answer."""
        self._groups.append((verb, group, state))

    def run_each_now(self, ids: Sequence[str]) -> None:
        """In a thread: runs jobs now, one after the other."""

        def run() -> None:
            for job_id in ids:
                # It may have been done, and its answer lost.
                answer = self.desk.ask("POST", f"/jobs/{job_id}/run-now")
                assert answer.status in (200, 409), answer.raw

        self._one_by_one.append(Command(Reason.RUN_NOW.value, frozenset(ids)))
        self._work.append(self._threads.submit(run))

    def keep_paused(self, kind: str, lasts_s: float) -> None:
        """In a thread: pauses a kind for so long, behind all other pauses."""

        def pause() -> None:
            with self._one_pause:
                paused = self.pauses.pause(kind)
                time.sleep(lasts_s)
                self.pauses.resume(paused)
                # What was sent before may come late: another pause would end by it, or last.
                time.sleep(LATE_S)
                self.pauses.resume(paused)

        self._work.append(self._threads.submit(pause))

    def finish(self) -> None:
        """Returns when all commands are over, and no job of their groups is left as it was. All faults are over."""
        for work in self._work:
            work.result(INSISTS_S)
        self.pauses.resume_all()
        # What they have still to move is theirs.
        self.bulk.wait_all_ended()
        for verb, group, state in self._groups:
            # What a client was told nothing of may have been stored later than the plan.
            self.desk.wait_settled(group)
            while (plan := self.bulk.plan(verb, group, state)).ids:
                self.bulk.wait_ended(self.bulk.order(plan, 1000.0))
                self.desk.wait_settled(group)

    def close(self) -> None:
        """Ends all threads."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def commands(self) -> list[Command]:
        """What was asked for, with how it stands."""
        return [*self.bulk.commands(), *self._one_by_one]


def unless_away(look: Callable[[], Any]) -> Callable[[], Any]:
    """A look at MongoDB, None while it does not answer."""

    def looked() -> Any:
        try:
            return look()
        except PyMongoError:
            return None

    return looked
