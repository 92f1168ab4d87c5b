"""Clients that post continuously without retries: what an honest caller sees while processes come and go."""

import asyncio
import itertools
import json
from collections.abc import Mapping, Sequence
from uuid import uuid4

import aiohttp

PAUSE_S = 0.09


class Load:
    """A context with clients that post `bodies` in turn, on pooled connections and on a new one for each call.

    `seldom` many hold a connection that is idle most of the time; `busy` ones pause `pause_s` between calls.

    `accepted` maps the id of each 202 to the number of its body, `keys` to its Idempotency-Key with `with_keys`;
    `failures` has all other responses, and every error.
    """

    def __init__(
        self,
        url: str,
        bodies: Sequence[object],
        *,
        busy: int = 12,
        fresh: int = 6,
        seldom: int = 20,
        pause_s: float = 0,
        headers: Mapping[str, str] | None = None,
        with_keys: bool = False,
    ) -> None:
        self.accepted: dict[str, int] = {}
        self.keys: dict[str, str] = {}
        self.failures: list[str] = []
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        self._with_keys = with_keys
        self._url = url
        self._bodies = [json.dumps(body).encode() for body in bodies]
        self._turn = itertools.count()
        self._is_over = asyncio.Event()
        self._numbers = busy, fresh, seldom
        self._pause_s = pause_s

    async def __aenter__(self) -> "Load":
        busy, fresh, seldom = self._numbers
        self._pool = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._new = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True))
        self._clients = [
            *(self._client(self._pool, self._pause_s) for _ in range(busy)),
            *(self._client(self._new, self._pause_s) for _ in range(fresh)),
            *(self._client(self._pool, PAUSE_S) for _ in range(seldom)),
        ]
        self._running = [asyncio.create_task(client) for client in self._clients]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_over.set()
        await asyncio.gather(*self._running)
        await self._pool.close()
        await self._new.close()

    async def _client(self, session: aiohttp.ClientSession, pause_s: float) -> None:
        while not self._is_over.is_set():
            await self._call(session)
            try:
                async with asyncio.timeout(pause_s):
                    await self._is_over.wait()
            except TimeoutError:
                pass

    async def _call(self, session: aiohttp.ClientSession) -> None:
        number = next(self._turn) % len(self._bodies)
        key = uuid4().hex if self._with_keys else None
        headers = self._headers if key is None else {**self._headers, "Idempotency-Key": key}
        try:
            async with session.post(self._url, data=self._bodies[number], headers=headers) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, OSError) as error:
            self.failures.append(repr(error))
            return
        if answer.status != 202:
            self.failures.append(f"{answer.status} {text}")
            return
        job_id = json.loads(text)["id"]
        if job_id in self.accepted:
            self.failures.append(f"{job_id} was given twice")
        self.accepted[job_id] = number
        if key is not None:
            self.keys[job_id] = key
