"""Send ledger work of many attempts in groups, and repeat what has no known outcome.

Opens, writes and reads each have a group of their own. Groups grow with the load, by the rule of `batch_window`: a
single call of a quiet worker goes out at once, and the calls of a busy one share the disk wait of one command.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from acked_common.runtime.batch_window import BatchWindow
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log
from acked_common.store.errors import OutcomeUnknown, StoreError, StoreUnavailable

log = get_log(__name__)

BATCH = 500
"""The maximum of calls in one command."""
BATCH_BYTES = 8 * 2**20
"""The maximum size of one command, except for a single call."""
RETRY_S = 0.3

Item = TypeVar("Item")
Reply = TypeVar("Reply")


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Item, Reply]):
    item: Item
    weight: int
    reply: "asyncio.Future[Reply]"


class CallGroup(Generic[Item, Reply]):
    """The calls of one sort. All on the plumbing loop.

    `send` must be safe to repeat after an unknown outcome. A call that the store refuses for good raises its
    `StoreError` to the caller, and does not affect the calls beside it.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[Sequence[Item]], Awaitable[Sequence[Reply]]],
        *,
        weigh: Callable[[Item], int] = lambda item: 0,
        batch: int = BATCH,
        key: Callable[[Item], object] | None = None,
    ) -> None:
        """`name` is for logs; `weigh` returns the bytes of a call. Calls with the same `key` share no command."""
        self._name = name
        self._send = send
        self._weigh = weigh
        self._batch = batch
        self._key = key
        self._waiting: deque[_Waiting[Item, Reply]] = deque()
        self._window = BatchWindow(self._flush)
        self._tasks = Tasks()
        self._is_stopped = False

    async def call(self, item: Item) -> Reply:
        """Return the reply to one call, as `begin` does."""
        return await self.begin(item)

    def begin(self, item: Item) -> "asyncio.Future[Reply]":
        """Begin one call; the future is its reply, however often it has to be sent.

        A cancelled call is dropped if it was not sent yet. The future raises `StoreError` if the call is refused. After
        `stop` it is cancelled.
        """
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        if self._is_stopped:
            reply.cancel("the worker stops")
            return reply
        self._waiting.append(_Waiting(item, self._weigh(item), reply))
        self._window.flush_soon(len(self._waiting))
        return reply

    async def stop(self) -> None:
        """Cancel all calls. The attempts that made them open their ledgers again elsewhere."""
        self._is_stopped = True
        while self._waiting:
            self._waiting.popleft().reply.cancel()
        await self._tasks.cancel_all()
        self._window.stop()

    def _flush(self) -> None:
        while self._window.may_begin(len(self._waiting)):
            batch = self._next_batch()
            if not batch:
                continue
            self._window.begin(len(batch))
            self._tasks.spawn(self._run(batch), self._name)

    def _next_batch(self) -> list[_Waiting[Item, Reply]]:
        batch: list[_Waiting[Item, Reply]] = []
        keys: set[object] = set()
        weight = 0
        while self._waiting and len(batch) < self._batch:
            one = self._waiting[0]
            if not one.reply.done():
                key = one if self._key is None else self._key(one.item)
                if key in keys or (batch and weight + one.weight > BATCH_BYTES):
                    break
                keys.add(key)
                weight += one.weight
                batch.append(one)
            self._waiting.popleft()
        return batch

    async def _run(self, batch: Sequence[_Waiting[Item, Reply]]) -> None:
        try:
            try:
                replies = await self._until_known([one.item for one in batch])
            except StoreError:
                await self._one_by_one(batch)
            else:
                for one, reply in zip(batch, replies, strict=True):
                    _resolve(one, reply)
        except Exception as error:
            for one in batch:
                _fail(one, error)
            raise
        finally:
            for one in batch:
                # Only after a cancellation.
                one.reply.cancel()
            self._window.end(len(batch))
            self._flush()

    async def _one_by_one(self, batch: Sequence[_Waiting[Item, Reply]]) -> None:
        """Send calls one by one: a call that MongoDB rejects must not fail the others."""
        for one in batch:
            try:
                _resolve(one, (await self._until_known([one.item]))[0])
            except StoreError as error:
                log.error("a durable call was refused", call=self._name, error=str(error))
                _fail(one, error)

    async def _until_known(self, items: Sequence[Item]) -> Sequence[Reply]:
        warned = False
        while True:
            try:
                replies = await self._send(items)
            except (StoreUnavailable, OutcomeUnknown) as error:
                # Once per outage of this group, not once per try.
                if not warned:
                    log.warning("durable calls wait for the database", call=self._name, error=str(error))
                warned = True
                await asyncio.sleep(RETRY_S)
            else:
                return replies


def _resolve(one: _Waiting[Item, Reply], reply: Reply) -> None:
    if not one.reply.done():
        one.reply.set_result(reply)


def _fail(one: _Waiting[Item, Reply], error: Exception) -> None:
    if not one.reply.done():
        one.reply.set_exception(error)
