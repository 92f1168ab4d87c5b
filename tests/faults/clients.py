"""What a client knows: each attempt with its id, its refusal, or that nobody can tell. Kept in a file as it happens."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from support.loop_thread import LoopThread

ANSWERED_WITHIN_S = 10.0
AT_ONCE = 400
KEYED = 3
"""Of so many requests under load one has an idempotency key, as a careful client sends it."""
TRIES_WITH_KEY = 4
AGAIN_AFTER_S = 0.5
CANARY = "canary-0c7a51"
"""In every payload; no log may have it."""


class Told(StrEnum):
    """What an attempt came to."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """Said or certain: nothing was stored."""
    UNKNOWN = "unknown"
    """May be stored, and runs then."""
    REUSED = "reused"
    """The key belongs to a request that asks for something else; `detail` is its job."""
    WRONG = "wrong"
    """An answer that the contract does not have."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request; `tag` is on the job that it makes, if any. Attempts with one key have one tag."""

    tag: str
    told: Told
    job_id: str | None
    detail: str
    took_s: float
    key: str | None = None
    is_other: bool = False
    """Whether it asks for something else than the earlier ones with its key."""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for."""

    kind: str = "fault.work"
    seconds: float = 1.0
    gate: Path | None = None
    """The job ends only when this file is gone."""
    delay_s: float = 0.0
    group: str | None = None
    """One more tag, by which operators find the jobs."""
    signals: int = 0
    """The number of signals that the job waits for."""

    def body(self, batch: str, tag: str) -> dict[str, Any]:
        """The request's body."""
        gate = {} if self.gate is None else {"gate": str(self.gate)}
        signals = {"signals": self.signals} if self.signals else {}
        return {
            "kind": self.kind,
            "payload": {"seconds": self.seconds, "canary": CANARY, **gate, **signals},
            "batch": batch,
            "tags": [tag, *([] if self.group is None else [self.group])],
            **({"delay_s": self.delay_s} if self.delay_s else {}),
        }


class Client:
    """Sends requests of one batch and keeps the ledger of all attempts."""

    def __init__(self, outside: LoopThread, port: int, batch: str, ledger: Path) -> None:
        self._outside = outside
        self._url = f"http://127.0.0.1:{port}/process"
        self._batch = batch
        self._numbers = count(1)
        self._file = ledger.open("a", buffering=1)
        self._in_flight = 0
        self.attempts: list[Attempt] = []
        self.held_back = 0
        """Requests that were not sent, since too many were under way."""
        self._session = outside.run(_session())

    def close(self) -> None:
        """Closes connections and the ledger."""
        self._outside.run(self._session.close())
        self._file.close()

    @property
    def accepted(self) -> list[str]:
        """The ids of all 202s."""
        return [attempt.job_id for attempt in self.attempts if attempt.job_id is not None]

    @property
    def not_accepted(self) -> list[Attempt]:
        """Attempts that were refused or whose outcome is not known."""
        return [attempt for attempt in self.attempts if attempt.told in (Told.REFUSED, Told.UNKNOWN)]

    def burst(self, number: int, *, at_once: int = 32, **options: Any) -> list[str]:
        """Sends so many as fast as some connections can; the ids of those that were accepted. Options: `Wanted`."""
        wanted = Wanted(**options)

        async def send() -> list[str]:
            left = iter(range(number))
            ids: list[str] = []

            async def one() -> None:
                for _ in left:
                    attempt = await self._try(f"try-{next(self._numbers)}", wanted)
                    if attempt.job_id is not None:
                        ids.append(attempt.job_id)

            await asyncio.gather(*(one() for _ in range(at_once)))
            return ids

        return self._outside.run(send(), within_s=120.0)

    @contextmanager
    def load(self, rate: float, **options: Any) -> Iterator[None]:
        """As long as it lasts, so many requests a second are sent, whatever becomes of the earlier ones. Options:
        `Wanted`."""
        wanted = Wanted(**options)
        over = asyncio.Event()

        async def send() -> None:
            started = time.monotonic()
            sent = 0
            async with asyncio.TaskGroup() as tasks:
                while not over.is_set():
                    due = int((time.monotonic() - started) * rate)
                    for _ in range(due - sent):
                        if self._in_flight < AT_ONCE:
                            number = next(self._numbers)
                            send_one = self._try_with_key if number % KEYED == 0 else self._try
                            tasks.create_task(send_one(f"try-{number}", wanted))
                        else:
                            self.held_back += 1
                    sent = due
                    await asyncio.sleep(0.01)

        async def end() -> None:
            over.set()

        sending = self._outside.spawn(send())
        try:
            yield
        finally:
            self._outside.run(end())
            sending.result(ANSWERED_WITHIN_S * (TRIES_WITH_KEY + 1))

    async def _try_with_key(self, tag: str, wanted: Wanted) -> None:
        """Sends it until it is accepted; then once more, beside another request that has its key by mistake."""
        key = f"{self._batch}-{tag}"
        for _ in range(TRIES_WITH_KEY):
            attempt = await self._try(tag, wanted, key=key)
            if attempt.told is Told.ACCEPTED:
                await asyncio.gather(
                    self._try(tag, wanted, key=key),
                    self._try(tag, replace(wanted, seconds=wanted.seconds + 1.0), key=key, is_other=True),
                )
                return
            await asyncio.sleep(AGAIN_AFTER_S)

    async def _try(self, tag: str, wanted: Wanted, *, key: str | None = None, is_other: bool = False) -> Attempt:
        body = wanted.body(self._batch, tag)
        headers = {"Idempotency-Key": key} if key else {}
        self._in_flight += 1
        started = time.monotonic()
        try:
            async with self._session.post(self._url, json=body, headers=headers) as answer:
                told, job_id, detail = _meaning(answer.status, await answer.read())
        except aiohttp.ClientConnectorError as error:
            # Nothing was sent.
            told, job_id, detail = Told.REFUSED, None, type(error).__name__
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            told, job_id, detail = Told.UNKNOWN, None, type(error).__name__
        finally:
            self._in_flight -= 1
        attempt = Attempt(tag, told, job_id, detail, time.monotonic() - started, key, is_other, wanted.kind)
        self.attempts.append(attempt)
        self._file.write(json.dumps(asdict(attempt)) + "\n")
        return attempt


def _meaning(status: int, body: bytes) -> tuple[Told, str | None, str]:
    try:
        found: Any = json.loads(body)
    except ValueError:
        return Told.WRONG, None, f"{status} {body[:200]!r}"
    if status == 202:
        return Told.ACCEPTED, found["id"], ""
    name = str(found.get("type", "")).rsplit("/", 1)[-1]
    if status == 503 and name in ("not-accepted", "busy"):
        return Told.REFUSED, None, name
    if status == 503 and name == "outcome-unknown":
        return Told.UNKNOWN, None, name
    if status == 422 and name == "idempotency-key-reused":
        return Told.REUSED, None, str(found.get("id"))
    return Told.WRONG, None, f"{status} {name}"


async def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=ANSWERED_WITHIN_S)
    )
