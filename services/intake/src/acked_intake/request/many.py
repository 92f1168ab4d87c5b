"""`POST /process` with many requests at once: a line of JSON each, and a line with the outcome of each, in order.

The lines pass the accept path many at a time, so that they share group commits. They are submitted while the body still
arrives, but outcomes are sent only after its end: most clients read nothing before they have sent everything, and a
server that waited for them to read would stop them. Reading never stops either, whatever the accept path does; the
client's limit of bytes bounds what is held.

A request that is cut off has submitted some of the lines that had arrived. Sent again with the same keys, it creates no
job twice.
"""

import asyncio
import dataclasses
from collections import deque
from typing import Any

import msgspec

from acked_common.api.routes import LINES
from acked_common.http.limits import HeldBytes
from acked_common.http.problems import Problem, ProblemError, problem
from acked_common.http.rate_limit import wait_for_turn
from acked_common.runtime.logs import get_log
from acked_common.store.records import KeyHolder
from acked_intake.request.accepting import Accepting
from acked_intake.request.body import Receive, Send, check_empty, check_lines, chunk_of, discard_rest
from acked_intake.request.lines import BodyLine, LineSplitter, Overflow

log = get_log(__name__)

IN_FLIGHT = 256
"""Lines of one request in the accept path. More would make other clients wait longer for their group commit."""
SUBMITTED_IN_A_ROW = 16
"""Lines that are submitted before the loop serves others."""
OUTCOME_BYTES = 512
"""The bytes that each line counts in addition to its text, for its outcome."""
MOST_ERRORS = 4
"""Faults of one line that its outcome names."""
_WRITTEN_BYTES = 64 * 1024


class ManyRequests:
    """The lines of one request, from the body to the outcomes. Make it in the task of the request; call `stop`."""

    def __init__(self, accepting: Accepting, scope: Any, held: HeldBytes) -> None:
        """Check the head of the request. Raises `ProblemError`."""
        check_lines(scope)
        self._accepting = accepting
        self._scope = scope
        self._held = held
        self._lines: deque[tuple[BodyLine, asyncio.Future[bytes]]] = deque()
        self._outcomes: deque[asyncio.Future[bytes]] = deque()
        self._seen = 0
        self._more = asyncio.Event()
        self._places = asyncio.Semaphore(IN_FLIGHT)
        self._tasks: set[asyncio.Task[None]] = set()

    async def read(self, receive: Receive) -> None:
        """Read the whole body and begin to submit its lines. Raises `ProblemError` while no line was read, and
        `ClientLeft`."""
        splitter = LineSplitter(self._accepting.max_bytes)
        try:
            more_body = True
            while more_body:
                message = await receive()
                for line in splitter.feed(chunk_of(message)):
                    self._add(line)
                self._held.grow_to(splitter.received + self._seen * OUTCOME_BYTES)
                more_body = message.get("more_body", False)
            for line in splitter.end():
                self._add(line)
        except (Overflow, ProblemError) as error:
            found = error.problem if isinstance(error, ProblemError) else problem("body-too-large", f"{error}")
            if not self._seen:
                raise ProblemError(found) from None
            self._end_at(splitter.number, found)
            await discard_rest(receive)
        if not self._seen:
            check_empty(self._scope)

    async def answer(self, send: Send) -> None:
        """Send the outcomes in the order of the lines, each as soon as those before it are sent."""
        headers = [(b"content-type", LINES.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        ready = bytearray()
        while self._outcomes:
            outcome = self._outcomes.popleft()
            if ready and (len(ready) >= _WRITTEN_BYTES or not outcome.done()):
                await send({"type": "http.response.body", "body": bytes(ready), "more_body": True})
                ready.clear()
            ready += await outcome
        await send({"type": "http.response.body", "body": bytes(ready)})

    def stop(self) -> None:
        """Give up what was not submitted yet."""
        for task in self._tasks:
            task.cancel()

    def _add(self, line: BodyLine) -> None:
        outcome: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._outcomes.append(outcome)
        self._lines.append((line, outcome))
        if not self._seen:
            self._spawn(self._submit_all())
        self._seen += 1
        self._more.set()

    def _end_at(self, number: int, found: Problem) -> None:
        outcome: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        detail = f"{found.detail}. Neither this line nor those after it were read"
        outcome.set_result(_refused(number, dataclasses.replace(found, detail=detail)))
        self._outcomes.append(outcome)

    async def _submit_all(self) -> None:
        submitted = 0
        while True:
            while not self._lines:
                self._more.clear()
                await self._more.wait()
            line, outcome = self._lines.popleft()
            await self._places.acquire()
            if submitted:
                # The request itself has paid for its first line.
                await wait_for_turn(self._scope)
            self._spawn(self._submit(line, outcome))
            submitted += 1
            if submitted % SUBMITTED_IN_A_ROW == 0:
                await asyncio.sleep(0)

    async def _submit(self, line: BodyLine, outcome: "asyncio.Future[bytes]") -> None:
        try:
            text = await self._outcome_of(line)
        finally:
            self._places.release()
        outcome.set_result(text)

    async def _outcome_of(self, line: BodyLine) -> bytes:
        if line.is_too_long:
            return _refused(
                line.number, problem("body-too-large", f"a line may have {self._accepting.max_bytes:,} bytes")
            )
        try:
            job, key = await self._accepting.line(line.text, self._scope)
        except ProblemError as error:
            return _refused(line.number, error.problem)
        except Exception as error:
            log.error("a line failed", exc_info=error)
            return _refused(line.number, problem("internal", "this line met a fault of the server; send it again"))
        replayed = ',"replayed":true' if isinstance(job, KeyHolder) else ""
        members = self._accepting.members(job)
        return f'{{"line":{line.number},"status":202,"idempotency_key":"{key}"{replayed},{members}}}\n'.encode()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _refused(number: int, found: Problem) -> bytes:
    members = found.members()
    if len(found.errors) > MOST_ERRORS:
        members["errors"] = members["errors"][:MOST_ERRORS]
    outcome: dict[str, Any] = {"line": number, "status": found.status}
    if (retry_after := found.headers.get("Retry-After")) is not None:
        outcome["retry_after_s"] = int(retry_after)
    return msgspec.json.encode({**outcome, "problem": members}) + b"\n"
