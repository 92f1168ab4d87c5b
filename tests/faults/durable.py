"""Durable jobs of an experiment: clients that send them signals, and a reader of all changes of their ledgers.

Each job gets its signals from several clients at once. A client sends one until a gateway confirms it, and many once
more: then the response is the same, and the job takes it once.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
from pymongo.errors import PyMongoError

from acked_common.model.lifecycle import TERMINAL, State
from faults.clients import CANARY, Client
from faults.durable_evidence import DurableEvidence, SentSignal, step_runs
from faults.ledger_watch import LedgerWatch
from faults.rig import Rig

KINDS = ("fault.durable", "fault.rests")
SENDERS, EACH = 2, 2
SIGNALS = SENDERS * EACH
"""Each job takes so many."""
AGAIN_AFTER_S = 1.0
ANSWERED_WITHIN_S = 10.0
APART_S = 1.0
"""The longest time between two signals of a client: a job has often parked meanwhile."""
FINISHES_WITHIN_S = 120.0
LOOKS_EVERY_S = 0.05
PARKS_WITHIN_S = 8.0
CONNECTIONS = 16
CONFIRMED, AWAY = (200, 202), (429, 503)


@dataclass(slots=True)
class Sending:
    """The state of one signal: how often it was sent, and whether a gateway has confirmed it."""

    job_id: str
    sender: int
    number: int
    tries: int = 0
    is_confirmed: bool = False

    @property
    def id(self) -> str:
        """The id of the signal."""
        return f"{self.job_id}.{self.sender}.{self.number}"


class DurableWork:
    """The clients and the reader of one experiment; both work until `finish`."""

    def __init__(self, rig: Rig, client: Client, batch: str) -> None:
        self._rig = rig
        self._client = client
        self._batch = batch
        self._url = f"http://127.0.0.1:{rig.stack.gateway_port}/jobs"
        self._steps = rig.folder / "steps.jsonl"
        self._steps_from = _size(self._steps)
        self._sent: list[Sending] = []
        self._wrong: list[str] = []
        self._late: list[str] = []
        self._is_over = False
        self._watch = LedgerWatch(rig.database)
        self._feeding = rig.outside.spawn(self._feed())

    @property
    def confirmed(self) -> int:
        """The number of signals that gateways have confirmed."""
        return sum(one.is_confirmed for one in self._sent)

    @property
    def inside(self) -> int:
        """The number of steps that have begun and not ended."""
        return sum(not run.has_ended for run in step_runs(self._lines()))

    @property
    def ran_again(self) -> int:
        """The number of steps that have run more than once."""
        return sum(number > 1 for number in Counter(run.step for run in step_runs(self._lines())).values())

    def finish(self) -> None:
        """Return when every job has all of its signals, also one whose client had no response. All faults are over."""
        wanted = {"batch": self._batch, "kind": {"$in": list(KINDS)}}
        self._late = [str(job["_id"]) for job in self._rig.database.jobs.find(wanted, {"_id": True})]
        self._is_over = True
        self._feeding.result(FINISHES_WITHIN_S)

    def evidence(self, ids: Sequence[str]) -> DurableEvidence:
        """Return what has become of the signals, steps and ledgers of some jobs, all of which have ended."""
        behind = self._watch.behind([UUID(one) for one in ids])
        history = self._watch.history
        return DurableEvidence(
            signals=[SentSignal(s.job_id, s.id, s.sender, s.number, s.tries, s.is_confirmed) for s in self._sent],
            runs=[run for run in step_runs(self._lines()) if run.job_id in set(ids)],
            ledgers_wrong=[*history.wrong, *behind],
            wrong=self._wrong,
            entries=history.written,
            opens=history.opened,
        )

    def close(self) -> None:
        """End clients and reader, finished or not."""
        self._feeding.cancel()
        self._watch.close()

    def _lines(self) -> list[dict[str, Any]]:
        if not self._steps.exists():
            return []
        with self._steps.open("rb") as file:
            file.seek(self._steps_from)
            return [json.loads(line) for line in file]

    async def _feed(self) -> None:
        known: set[str] = set()
        looked = 0
        timeout = aiohttp.ClientTimeout(total=ANSWERED_WITHIN_S)
        connector = aiohttp.TCPConnector(limit=CONNECTIONS)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session, asyncio.TaskGroup() as tasks:
            is_last = False
            while not is_last:
                is_last = self._is_over
                attempts = self._client.attempts[looked:]
                looked += len(attempts)
                accepted = (one.job_id for one in attempts if one.kind in KINDS)
                for job_id in (*accepted, *(self._late if is_last else ())):
                    if job_id is not None and job_id not in known:
                        known.add(job_id)
                        for sender in range(SENDERS):
                            tasks.create_task(self._send_all(session, job_id, sender))
                await asyncio.sleep(LOOKS_EVERY_S)

    async def _send_all(self, session: aiohttp.ClientSession, job_id: str, sender: int) -> None:
        if sender == 0:
            # On a busy machine jobs begin so late that no job would have to wait for a signal.
            await self._until_parked(job_id)
        for number in range(EACH):
            await asyncio.sleep(random.uniform(0.0, APART_S))
            sending = Sending(job_id, sender, number)
            self._sent.append(sending)
            while not sending.is_confirmed:
                await self._send(session, sending)
            for _ in range(random.randint(0, 2)):
                await self._send(session, sending)

    async def _until_parked(self, job_id: str) -> None:
        """Return when a job is parked or has ended, or after a while: what it runs on may be away."""
        states = [state.value for state in (State.WAITING, *TERMINAL)]
        wanted = {"_id": UUID(job_id), "state": {"$in": states}}
        with suppress(TimeoutError, PyMongoError):
            async with asyncio.timeout(PARKS_WITHIN_S):
                # Only MongoDB knows.
                while await asyncio.to_thread(self._rig.database.jobs.find_one, wanted, {"_id": True}) is None:  # noqa: ASYNC110
                    await asyncio.sleep(LOOKS_EVERY_S * 4)

    async def _send(self, session: aiohttp.ClientSession, sending: Sending) -> None:
        sending.tries += 1
        body = {"sender": sending.sender, "number": sending.number, "canary": CANARY}
        headers = {"Idempotency-Key": sending.id}
        try:
            url = f"{self._url}/{sending.job_id}/signals/go"
            async with session.post(url, json=body, headers=headers) as response:
                status, text = response.status, await response.text()
        except (aiohttp.ClientError, OSError, TimeoutError):
            status, text = 503, ""
        if status in CONFIRMED:
            if status == 202 and sending.is_confirmed:
                self._wrong.append(f"I15 signal {sending.id} was new a second time")
            sending.is_confirmed = True
        elif status in AWAY:
            await asyncio.sleep(AGAIN_AFTER_S)
        else:
            self._wrong.append(f"I15 signal {sending.id} got {status}: {text[:200]}")
            # No repetition changes it.
            sending.is_confirmed = True


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
