"""The blocking shell: one flow at a time in each thread that calls it."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

import httpx2
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.sync.client import ClientConnection, connect

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


class _Stopped(Exception):
    """The caller of `submit_many` takes no further outcome."""


class Driver:
    """Runs flows. Threads may share it."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._http = httpx2.Client(**config.http_options())

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def run(self, flow: Flow[T], stop: threading.Event | None = None) -> T:
        """Run a call to its end; `stop` ends its next wait."""
        try:
            effect = next(flow)
            while True:
                effect = flow.send(self._timed(self._perform, effect, stop))
        except StopIteration as stopped:
            return stopped.value  # type: ignore[no-any-return]

    def pages(self, pages: Pages[T]) -> Iterator[T]:
        """Yield the items of a list."""
        while not pages.is_done:
            yield from self.run(pages.next())

    def many(self, session: Session, rows: ManyRows, concurrency: int) -> Iterator[RowOutcome]:
        """Submit rows in chunks, with several threads, and yield one outcome a row, in order."""
        stop = threading.Event()

        def submit(chunk: list[Row]) -> list[Submitted | Exception]:
            try:
                return self.run(lines.submit_rows(session, chunk), stop)
            except Exception as error:
                return [error] * len(chunk)

        with ThreadPoolExecutor(concurrency, thread_name_prefix="acked-submit") as threads:
            under_way: dict[Future[list[Submitted | Exception]], list[Row]] = {}
            try:
                while not rows.is_done:
                    while chunk := rows.take_chunk():
                        under_way[threads.submit(submit, chunk)] = chunk
                    done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                    for future in done:
                        for row, outcome in zip(under_way.pop(future), future.result(), strict=True):
                            rows.settle(row, outcome)
                    yield from rows.ready()
            finally:
                stop.set()
                for future in under_way:
                    future.cancel()

    def watch(self, flow: FeedFlow[None]) -> Iterator[JobEvent]:
        """Yield the events that a flow shows."""
        line = _BlockingSocket(self._config)
        try:
            effect = next(flow)
            while True:
                if isinstance(effect, Show):
                    yield from effect.events
                    effect = flow.send(Done(None, 0.0))
                else:
                    effect = flow.send(self._timed(self._perform_of_feed, effect, line))
        finally:
            line.hang_up()

    def _timed(self, perform: Callable[..., Outcome], *arguments: object) -> Done:
        began = time.monotonic()
        outcome = perform(*arguments)
        return Done(outcome, time.monotonic() - began)

    def _perform(self, effect: Effect, stop: threading.Event | None = None) -> Outcome:
        if isinstance(effect, Send):
            return self._send(effect)
        if stop is None:
            time.sleep(effect.seconds)
        elif stop.wait(effect.seconds):
            raise _Stopped
        return None

    def _send(self, effect: Send) -> Response | Lost:
        request = effect.request
        try:
            found = self._http.request(
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

    def _perform_of_feed(self, effect: FeedEffect, line: "_BlockingSocket") -> Outcome:
        if isinstance(effect, Send | Pause):
            return self._perform(effect)
        return line.perform(effect)


class _BlockingSocket:
    """The WebSocket of one `watch`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._socket: ClientConnection | None = None

    def perform(self, effect: FeedEffect) -> Outcome:
        match effect:
            case Connect():
                return self._connect(effect)
            case HangUp():
                self.hang_up()
                return None
        assert self._socket is not None  # noqa: S101 - flows connect first
        try:
            match effect:
                case Say(text):
                    self._socket.send(text)
                case Hear(timeout_s):
                    heard = self._socket.recv(timeout_s)
                    return heard if isinstance(heard, str) else heard.decode("utf-8", "replace")
        except TimeoutError:
            return None
        except ConnectionClosed as error:
            return Closed(error.rcvd.code, error.rcvd.reason) if error.rcvd is not None else Closed(1006)
        return None

    def hang_up(self) -> None:
        """Close the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self, effect: Connect) -> Response | Lost | None:
        url = transport.feed_url(effect.base_url, effect.path)
        try:
            # Entered at once: the library warns of a connection that no block closes. `hang_up` does.
            self._socket = connect(url, **self._config.feed_options(url, effect.timeout_s)).__enter__()
        except (OSError, EOFError, TimeoutError, InvalidHandshake, InvalidURI) as error:
            return transport.refused_feed(error)
        return None
