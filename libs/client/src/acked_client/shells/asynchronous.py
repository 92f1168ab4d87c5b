"""The asyncio shell: flows on the loop of the caller."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from acked_client.core import lines
from acked_client.core.effects import (
    Closed,
    Connect,
    Done,
    Effect,
    FeedEffect,
    FeedFlow,
    Flow,
    HangUp,
    Hear,
    Lost,
    Pause,
    Response,
    Say,
    Send,
    Show,
)
from acked_client.core.exchange import Session
from acked_client.core.jobs import Submitted
from acked_client.core.lists import Pages
from acked_client.core.many import ManyRows, Row, RowOutcome
from acked_client.model.jobs import JobEvent
from acked_client.shells import transport
from acked_client.shells.transport import Config

T = TypeVar("T")
Outcome = Response | Lost | Closed | str | None


class AsyncDriver:
    """Runs flows on one event loop. Tasks may share it."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._http = httpx2.AsyncClient(**config.http_options())

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def run(self, flow: Flow[T]) -> T:
        """Run a call to its end."""
        try:
            effect = next(flow)
            while True:
                effect = flow.send(await self._timed(self._perform(effect)))
        except StopIteration as stopped:
            return stopped.value  # type: ignore[no-any-return]

    async def pages(self, pages: Pages[T]) -> AsyncIterator[T]:
        """Yield the items of a list."""
        while not pages.is_done:
            for item in await self.run(pages.next()):
                yield item

    async def many(self, session: Session, rows: ManyRows, concurrency: int) -> AsyncIterator[RowOutcome]:
        """Submit rows in chunks, with several tasks, and yield one outcome a row, in order."""

        async def submit(chunk: list[Row]) -> list[Submitted | Exception]:
            try:
                async with at_once:
                    return await self.run(lines.submit_rows(session, chunk))
            except Exception as error:
                return [error] * len(chunk)

        at_once = asyncio.Semaphore(concurrency)
        under_way: dict[asyncio.Task[list[Submitted | Exception]], list[Row]] = {}
        try:
            while not rows.is_done:
                while chunk := rows.take_chunk():
                    under_way[asyncio.create_task(submit(chunk))] = chunk
                if under_way:
                    done, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        for row, found in zip(under_way.pop(task), task.result(), strict=True):
                            rows.settle(row, found)
                for outcome in rows.ready():
                    yield outcome
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def watch(self, flow: FeedFlow[None]) -> AsyncIterator[JobEvent]:
        """Yield the events that a flow shows."""
        line = _AsyncSocket(self._config)
        try:
            effect = next(flow)
            while True:
                if isinstance(effect, Show):
                    for event in effect.events:
                        yield event
                    effect = flow.send(Done(None, 0.0))
                else:
                    effect = flow.send(await self._timed(self._perform_of_feed(effect, line)))
        finally:
            await line.hang_up()

    async def _timed(self, performed: Awaitable[Outcome]) -> Done:
        began = time.monotonic()
        outcome = await performed
        return Done(outcome, time.monotonic() - began)

    async def _perform(self, effect: Effect) -> Outcome:
        if isinstance(effect, Send):
            return await self._send(effect)
        await asyncio.sleep(effect.seconds)
        return None

    async def _send(self, effect: Send) -> Response | Lost:
        request = effect.request
        try:
            found = await self._http.request(
                request.method,
                effect.base_url + request.path,
                params=dict(request.query) or None,
                content=request.body,
                headers=self._config.headers_of(request),
                timeout=transport.timeout_of(effect.timeout_s),
            )
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            return transport.lost_request(error)
        return transport.response_of(found)

    async def _perform_of_feed(self, effect: FeedEffect, line: "_AsyncSocket") -> Outcome:
        if isinstance(effect, Send | Pause):
            return await self._perform(effect)
        return await line.perform(effect)


class _AsyncSocket:
    """The WebSocket of one `watch`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._socket: ClientConnection | None = None

    async def perform(self, effect: FeedEffect) -> Outcome:
        match effect:
            case Connect():
                return await self._connect(effect)
            case HangUp():
                await self.hang_up()
                return None
        assert self._socket is not None  # noqa: S101 - flows connect first
        try:
            match effect:
                case Say(text):
                    await self._socket.send(text)
                case Hear(timeout_s):
                    async with asyncio.timeout(timeout_s):
                        heard = await self._socket.recv()
                    return heard if isinstance(heard, str) else heard.decode("utf-8", "replace")
        except TimeoutError:
            return None
        except ConnectionClosed as error:
            return Closed(error.rcvd.code, error.rcvd.reason) if error.rcvd is not None else Closed(1006)
        return None

    async def hang_up(self) -> None:
        """Close the connection, if there is one."""
        if self._socket is not None:
            await self._socket.close()
            self._socket = None

    async def _connect(self, effect: Connect) -> Response | Lost | None:
        url = transport.feed_url(effect.base_url, effect.path)
        try:
            self._socket = await connect(url, **self._config.feed_options(url, effect.timeout_s))
        except (OSError, EOFError, TimeoutError, InvalidHandshake, InvalidURI) as error:
            return transport.refused_feed(error)
        return None
