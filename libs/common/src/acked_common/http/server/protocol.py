"""The protocol of one HTTP connection: uvicorn's, with deadlines, bounded heads and strict framing.

The protocol enforces the limits, so they hold even without a proxy in front of the service.
"""

import asyncio
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from acked_common.http.cors import Cors
from acked_common.http.problems import Problem, ProblemError, problem
from acked_common.http.request_guards import MAX_HEADER_BYTES
from acked_common.http.request_head import check_framing, check_version, head_without_upgrade, may_switch, origin_form
from acked_common.http.server.connection_watch import ConnectionWatch, connections_closed
from acked_common.http.server.deadlines import Deadline
from acked_common.http.server.error_response import answer_bytes
from acked_common.http.server.health_only import only_health
from acked_common.http.server.response_cycle import ResponseCycle
from acked_common.http.settings import HttpLimits

MAX_PIPELINED = 64
_IN_HEAD, _IN_BODY, _BETWEEN, _AT_UPGRADE = range(4)


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits. `limited_protocol` makes the class of one process."""

    watch: ConnectionWatch
    socket_paths: frozenset[str]
    cors: Cors | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._stage = _BETWEEN
        self._head_bytes = 0
        self._stray_bytes = 0
        self._has_body = False
        self._began = False
        self._ended_one = False
        self._codings: tuple[bytes, ...] = ()
        self._switches = False
        self._wait: Deadline | None = None
        self._is_over = False
        self._running: RequestResponseCycle | None = None
        self._refusal: Problem | None = None
        """The problem to send once the earlier requests have their responses."""
        self._is_counted = True
        admitted = self.watch.admit(self.loop)
        if admitted is None:
            connections_closed.labels("too-many").inc()
            self._is_over = True
            transport.abort()
            return
        if not admitted:
            self.app = only_health(self.app, self.cors)
        self._await(Deadline.FIRST_BYTE)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._running is not None and not self._running.response_complete:
            # uvicorn notifies only the newest request, but earlier ones may still run.
            self._running.disconnected = True
            self._running.message_event.set()
        self._await(None)
        self._leave_count()

    def eof_received(self) -> None:
        """Do nothing: the transport closes itself."""

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            # Discard the data instead of closing, or the client would be reset before it has read its response.
            return
        self._has_body = self._ended_one = False
        stage = self._stage
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            detail = f"this can't be read as HTTP/1.1, or is more than {MAX_PIPELINED} requests at once"
            raised = error.__context__
            self._refuse(raised.problem if isinstance(raised, ProblemError) else problem("bad-http", detail))
            return
        if self._switches or self.transport.is_closing():
            return
        if self._stage == _IN_HEAD:
            # If the head follows another request, it is unknown how many of these bytes belong to it.
            self._head_bytes = 0 if self._ended_one else self._head_bytes + len(data)
            if self._head_bytes > MAX_HEADER_BYTES:
                self._refuse(
                    problem("headers-too-large", f"a head may have {MAX_HEADER_BYTES:,} bytes, this one has more")
                )
                return
        elif self._stage == _IN_BODY and stage == _IN_BODY and not self._has_body:
            # Chunk sizes, chunk extensions and trailers: httptools accepts any amount of them.
            self._stray_bytes += len(data)
            if self._stray_bytes > MAX_HEADER_BYTES:
                self._refuse(problem("headers-too-large", "there is too much around the chunks of the body"))
                return
        self._find_wait()

    def _feed(self, data: bytes) -> None:
        """Feed the parser. Parse a request whose upgrade is declined again, without the offer.

        httptools skips the body of every request that offers an upgrade, and would parse it as the next request.
        """
        rest: bytes | memoryview = data
        while rest:
            try:
                self.parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as offered:
                if self._switches:
                    self.handle_websocket_upgrade()
                    return
                rest = memoryview(rest)[offered.args[0] :]
                scope = self.scope
                head = head_without_upgrade(scope["method"], self.url, scope["http_version"], self.headers)
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self.parser.feed_data(head)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._stage = _IN_HEAD
        self._began = True
        self._codings = ()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header as uvicorn does, without trailing white space. Also called for each trailer."""
        name = name.lower()
        if name == b"transfer-encoding":
            self._codings += (value,)
        elif name == b"expect" and value.rstrip().lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value.rstrip()))

    def on_headers_complete(self) -> None:
        """Start a request as uvicorn does, with `ResponseCycle`; refuse a head that two parties could read
        differently."""
        if len(self.pipeline) >= MAX_PIPELINED:
            raise OverflowError("too many requests at once on one connection")
        version = self.parser.get_http_version()
        scope = self.scope
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = version
        if version != "1.1":
            check_version(version)
        if self._codings:
            check_framing(self._codings, version)
        if not self.url.startswith(b"/"):
            self.url, self.headers = origin_form(self.url, self.headers)
            scope["headers"] = self.headers
        if b"#" in self.url:
            raise ProblemError(problem("bad-http", "the target of a request must not contain '#'"))
        url = httptools.parse_url(self.url)
        scope["raw_path"] = url.path
        scope["path"] = unquote(url.path.decode("ascii")) if b"%" in url.path else url.path.decode("ascii")
        scope["query_string"] = url.query or b""
        if self.parser.should_upgrade():
            self._stage = _AT_UPGRADE
            self._switches = self._may_switch()
            return
        self._stage = _IN_BODY
        self._head_bytes = self._stray_bytes = 0
        # Headers after the head are trailers: collect them in a list that is never read.
        self.headers = []
        before = self.cycle
        self.cycle = ResponseCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue and version != "1.0",
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        """Collect a part of the body as uvicorn does; the parser reports no body of an upgrade."""
        self._has_body = True
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """End a request as uvicorn does; a request at an upgrade is not complete."""
        if self._stage == _AT_UPGRADE:
            return
        self._stage = _BETWEEN
        self._ended_one = True
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()
        if self.headers and not self.parser.should_keep_alive():
            self._end_after_answer()

    def on_response_complete(self) -> None:
        """Continue after a response as uvicorn does, without a timer per request."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal is not None:
            self._answer(self._refusal)
        else:
            self._find_wait()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _should_upgrade(self) -> bool:
        return self._switches

    def _may_switch(self) -> bool:
        """Return whether the current request becomes a WebSocket. It can't while earlier requests have no response: the
        client would take its 101 for the first of those responses."""
        scope = self.scope
        if scope["method"] == "CONNECT":
            raise ProblemError(problem("bad-http", "CONNECT is for proxies, and this is none"))
        cycle: RequestResponseCycle | None = self.cycle
        return (
            scope["path"] in self.socket_paths
            and (cycle is None or cycle.response_complete)
            and may_switch(scope["method"], scope["http_version"], self.headers)
        )

    def _end_after_answer(self) -> None:
        """Close after the response, because a trailer said `Connection: close` and the parser has stopped."""
        if self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def handle_websocket_upgrade(self) -> None:
        self._await(None)
        self._leave_count()
        super().handle_websocket_upgrade()

    def end(self, why: str, wait: Deadline) -> None:
        """End the connection: a deadline has passed, or it was evicted. It is in no list any more."""
        self._wait = None
        if self.transport.is_closing():
            return
        if why == "late" and wait is Deadline.BODY and self.flow.read_paused:
            # The server itself has paused reading.
            self._await(Deadline.BODY)
            return
        if why == "late" and wait is Deadline.HEAD:
            self._refuse(
                problem("slow-head", f"the whole head of a request must arrive within {self.watch.limits.head_s:g} s")
            )
        elif why == "late" and wait is Deadline.BODY:
            self._refuse(problem("slow-body", f"the whole body must arrive within {self.watch.limits.body_s:g} s"))
        else:
            if wait is not Deadline.GOODBYE:
                connections_closed.labels(why if why == "evicted" else wait.label).inc()
            if why == "late" and self.transport.get_write_buffer_size():
                # A close would wait until the client has read its whole last response.
                self.transport.abort()
            else:
                self.transport.close()

    def _find_wait(self) -> None:
        if self._is_over:
            return
        # None before the first request, despite its annotation.
        cycle: RequestResponseCycle | None = self.cycle
        wait: Deadline | None = None
        if self._stage == _IN_HEAD:
            wait = Deadline.HEAD
        elif self._stage == _IN_BODY:
            wait = Deadline.BODY
        elif cycle is None:
            wait = Deadline.FIRST_BYTE
        elif cycle.response_complete:
            wait = Deadline.NEXT_REQUEST
        if wait is not self._wait or self._began:
            self._began = False
            self._await(wait)

    def _await(self, wait: Deadline | None) -> None:
        if self._wait is not None:
            self.watch.leave(self, self._wait)
        self._wait = wait
        if wait is not None:
            self.watch.join(self, wait)

    def _leave_count(self) -> None:
        if self._is_counted:
            self._is_counted = False
            self.watch.left()

    def _refuse(self, found: Problem) -> None:
        """Respond to the current request, after the earlier ones, and end the connection."""
        self._is_over = True
        self._await(None)
        connections_closed.labels(found.name).inc()
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            if self._stage == _IN_BODY:
                # The request already has its response.
                self.transport.close()
            else:
                self._answer(found)
        elif self._stage == _IN_HEAD:
            self._refusal = found
        elif self._stage == _BETWEEN or cycle.response_started:
            # The fault follows the last whole request, whose response is then the last one.
            cycle.keep_alive = False
            self.flow.pause_reading()
        elif self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()
            self._refusal = found
        else:
            # The application sees a disconnect, and its own response is not sent.
            cycle.disconnected = True
            cycle.waiting_for_100_continue = False
            cycle.message_event.set()
            self._answer(found)

    def _answer(self, found: Problem) -> None:
        # The headers of the current request that have arrived.
        headers = () if self.scope is None else self.scope["headers"]
        more = () if self.cors is None else self.cors.headers(headers)
        self.transport.write(answer_bytes(found, self.server_state.default_headers, more))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._await(Deadline.GOODBYE)


def limited_protocol(
    limits: HttpLimits, socket_paths: frozenset[str], cors: Cors | None = None
) -> type[LimitedProtocol]:
    """Make the protocol class of one server. Only `socket_paths` accept upgrades to a WebSocket."""
    parts = {"watch": ConnectionWatch(limits), "socket_paths": socket_paths, "cors": cors}
    return type("LimitedProtocol", (LimitedProtocol,), parts)
