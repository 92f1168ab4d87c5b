"""One experiment: a client and observers at work, then peace, then the checker over all that is left."""

import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import Any

import msgspec

from acked_common.broker.rabbitmq.topology import DEAD_QUEUE, lane_queue
from acked_common.model.lifecycle import LIVE, Reason, State
from acked_common.store.mongo.schema import LIVE_INDEX
from deploy.native.processes import wait_until
from faults.broker import depths
from faults.checker import Figures, check
from faults.clients import CANARY, Client
from faults.durable import DurableWork
from faults.evidence import Effect, Evidence, Kept, Seen, effects_of, kept_job
from faults.operators import Desk, Operators
from faults.results import KEPT, Row
from faults.rig import Rig
from support.feed import Observer, Observers, observers
from support.stacks import eventually

ENDS_WITHIN_S = 120.0
CATCHES_UP_WITHIN_S = 20.0
MAX_IDS = 1000
LANES = (
    *("fault.work", "fault.thread", "fault.blocks", "fault.hangs", "fault.hangs-in-thread"),
    *("fault.fails", "fault.backs-off", "fault.durable", "fault.rests", "noop"),
)
_numbers = count(1)


class Experiment:
    """What a test does with its rig, and what it found."""

    def __init__(self, rig: Rig, name: str, feed: Observers) -> None:
        self.rig = rig
        self.name = name
        self.batch = f"experiment-{next(_numbers)}"
        self.client = Client(rig.outside, rig.stack.intake_port, self.batch, rig.folder / f"ledger-{self.batch}.jsonl")
        self.operators = Operators(Desk(rig.stack, rig.database.jobs, self.batch))
        self.feed = feed
        self.note = ""
        self.ends_within_s = ENDS_WITHIN_S
        self.may_cancel = False
        self.fails_on_purpose: set[str] = set()
        self.figures = Figures()
        self.evidence = Evidence([], {})
        self._durable: DurableWork | None = None
        self._gate = rig.folder / f"gate-{self.batch}"
        self._loss = len(rig.losses)
        self._effects_from = rig.effects.stat().st_size if rig.effects.exists() else 0
        feed.add(rig.stack, {"batch": self.batch})
        self.wait_observed()

    def wait_observed(self) -> None:
        """Returns when all observers follow."""
        eventually(self.feed.have_snapshots, within_s=CATCHES_UP_WITHIN_S, what="observers follow")

    def observe(self, ids: Sequence[str]) -> None:
        """One more observer, of these jobs one by one."""
        self.feed.add(self.rig.stack, {"ids": list(ids[:MAX_IDS])})

    def burst(self, number: int, **options: Any) -> list[str]:
        """Many requests at once; all but a few must be accepted."""
        ids = self.client.burst(number, **options)
        assert len(ids) >= number * 0.98, (len(ids), self.client.attempts[-1])
        return ids

    def in_full_swing(self, number: int = 600, *, running: int = 100) -> list[str]:
        """At least 500 jobs are in flight and so many of them run, until `open_gate`; all of their ids."""
        self._gate.touch()
        ids = self.burst(number, seconds=0.1, gate=self._gate)
        self.wait_running(running)
        assert self.in_flight() >= 500
        return ids

    def open_gate(self) -> None:
        """Lets the jobs of `in_full_swing` end; the end of the experiment does so too."""
        self._gate.unlink(missing_ok=True)

    def durably(self) -> DurableWork:
        """From now on clients send signals to each job, and all changes of ledgers are read."""
        assert self._durable is None
        self._durable = DurableWork(self.rig, self.client, self.batch)
        return self._durable

    def in_flight(self, *states: State) -> int:
        """Live jobs of this experiment, of some states or of all."""
        live = {"state": {"$in": [state.value for state in states or LIVE]}, "wake": {"$exists": True}}
        return int(self.rig.database.jobs.count_documents({**live, "batch": self.batch}, hint=LIVE_INDEX))

    def wait_running(self, number: int) -> None:
        """Returns when so many handlers run."""
        eventually(lambda: self.in_flight(State.RUNNING) >= number, within_s=150, what=f"{number} jobs run")

    def wait_accepted(self, number: int) -> None:
        """Returns when so many more requests were accepted."""
        wanted = len(self.client.accepted) + number
        eventually(lambda: len(self.client.accepted) >= wanted, within_s=150, what=f"{number} more are accepted")

    def busiest_worker(self) -> str:
        """The worker that runs most of this experiment's jobs."""
        running = self.rig.database.jobs.find({"batch": self.batch, "state": State.RUNNING.value}, {"owner": True})
        ((name, _),) = Counter(job["owner"]["worker"] for job in running).most_common(1)
        return str(name)

    def cancel_all(self, ids: Sequence[str]) -> dict[str, int]:
        """Asks for the cancel of each job, in a random order, from several clients; the status of each answer."""
        shuffled = random.Random(30).sample(ids, len(ids))
        with ThreadPoolExecutor(8) as pool:
            statuses = pool.map(lambda i: self.rig.stack.call("POST", f"/jobs/{i}/cancel").status, shuffled)
            return dict(zip(shuffled, statuses, strict=True))

    def documents(self) -> list[dict[str, Any]]:
        """All jobs of this experiment."""
        return list(self.rig.database.jobs.find({"batch": self.batch}))

    def begun_in_vain(self) -> list[Effect]:
        """Effects of attempts whose lease was lost."""
        lost = {
            (job.id, entry.attempt)
            for job in self.evidence.jobs.values()
            for entry in job.entries
            if entry.reason == Reason.LEASE_EXPIRED.value
        }
        return [effect for effect in self.evidence.effects if (effect.job_id, effect.attempt) in lost]

    def settle(self) -> list[str]:
        """Heals everything, waits for the end of all jobs, and checks; the breaches."""
        rig = self.rig
        rig.heal()
        self.open_gate()
        rig.wait_whole()
        self.operators.finish()
        if self._durable is not None:
            self._durable.finish()
        wait_until(lambda: not self.in_flight(), self.ends_within_s)
        jobs = {str(d["_id"]): kept_job(d, _result(d)) for d in self.documents()}
        self._let_observers_catch_up(jobs)
        self.evidence = self._evidence(jobs)
        # For whoever looks into a breach.
        (rig.folder / f"evidence-{self.batch}.json").write_bytes(msgspec.json.encode(self.evidence))
        self.figures, breaches = check(self.evidence)
        if self.evidence.durable is not None:
            self.note = ", ".join(filter(None, [self.note, self.evidence.durable.note]))
        return breaches

    def close(self) -> None:
        """Ends its clients and readers."""
        self.operators.close()
        if self._durable is not None:
            self._durable.close()
        self.client.close()

    def _let_observers_catch_up(self, jobs: dict[str, Kept]) -> None:
        """Waits, bounded, until what they know is what is; the checker tells what is not."""

        def knows(observer: Observer, seen: Seen) -> bool:
            is_current = all(
                (rev, state) == (jobs[i].rev, jobs[i].state)
                for i, (rev, state) in seen.jobs_that_hold.items()
                if i in jobs
            )
            return observer.has_snapshot and is_current and (seen.counts is None or +Counter(seen.counts) == counted)

        def know() -> bool:
            return all(knows(observer, _seen(observer)) for observer in self.feed.all)

        counted = Counter(job.state for job in jobs.values())
        wait_until(know, CATCHES_UP_WITHIN_S)

    def _evidence(self, jobs: dict[str, Kept]) -> Evidence:
        rig = self.rig
        live = {"$in": [state.value for state in LIVE]}
        wakeless = rig.database.jobs.count_documents(
            {"$or": [{"state": live, "wake": None}, {"state": {"$nin": live["$in"]}, "wake": {"$exists": True}}]}
        )
        return Evidence(
            attempts=list(self.client.attempts),
            jobs=jobs,
            effects=[effect for effect in effects_of(self._effect_lines()) if effect.job_id in jobs],
            losses=rig.losses[self._loss :],
            observers=[_seen(observer) for observer in self.feed.all],
            wakeless=wakeless,
            waiting_bundles=self._waiting_bundles(),
            leaks=self._leaks(),
            may_cancel=self.may_cancel,
            fails_on_purpose=frozenset(self.fails_on_purpose),
            commands=self.operators.commands(),
            pauses=self.operators.pauses.seen(),
            durable=None if self._durable is None else self._durable.evidence(list(jobs)),
        )

    def _effect_lines(self) -> list[dict[str, Any]]:
        if not self.rig.effects.exists():
            return []
        with self.rig.effects.open("rb") as file:
            file.seek(self._effects_from)
            return [json.loads(line) for line in file]

    def _waiting_bundles(self) -> dict[str, int]:
        queues = [DEAD_QUEUE, *map(lane_queue, LANES)]
        # A surplus bundle of a job that has ended is taken and dropped in a moment.
        found: dict[str, int] = {}

        def are_empty() -> bool:
            nonlocal found
            found = depths(self.rig, queues)
            return not any(found.values())

        wait_until(are_empty, 15.0)
        return found

    def _leaks(self) -> list[str]:
        layout = self.rig.stack.stack.layout
        secrets = {path.name: path.read_text().strip() for path in layout.secrets.iterdir()} | {"payload": CANARY}
        found = []
        for log in layout.logs.glob("*.log"):
            if log.name.split("-")[0] in ("intake", "gateway", "worker"):
                text = log.read_text(errors="replace")
                found += [f"{name} is in {log.name}" for name, secret in secrets.items() if secret in text]
        return found


def _seen(observer: Observer) -> Seen:
    counts = None if observer.counts is None else dict(observer.counts)
    return Seen(dict(observer.jobs), counts, list(observer.wrong), observer.resyncs, observer.connections)


def _result(document: dict[str, Any]) -> Any:
    result = document.get("result")
    return None if result is None else json.loads(result)


def attempts_of(document: dict[str, Any]) -> int:
    """How many attempts a job took."""
    return int(document["attempt"])


@contextmanager
def experiment(rig: Rig, name: str) -> Iterator[Experiment]:
    """Runs, settles, keeps the line of the table, and fails with all breaches."""
    started = time.monotonic()
    rig.wait_whole()
    with observers() as feed:
        made = Experiment(rig, name, feed)
        try:
            yield made
            breaches = made.settle()
        except BaseException:
            rig.heal()
            # The next experiment finds no slot taken and no kind paused.
            made.open_gate()
            made.operators.pauses.resume_all()
            raise
        finally:
            made.close()
    KEPT.append(Row(name, made.figures, time.monotonic() - started, made.note))
    assert not breaches, f"{len(breaches)} breaches; the first: " + "\n  ".join(["", *breaches[:12]])
