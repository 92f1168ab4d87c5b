"""`GET /ws/feed` with `Accept: text/event-stream`: sessions of the feed as server-sent events.

The scopes are query parameters, and each frame of a session becomes one event. A stream holds an HTTP connection for as
long as a client likes, so it counts as a feed and as a long poll: the limit of long polls leaves connections free for
short requests.
"""

import asyncio
import random
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from acked_common.api.authenticator import TOKEN_KEY
from acked_common.api.list_parameters import bad_parameter
from acked_common.api.routes import EVENTS, EventStreamRoute
from acked_common.http.limits import Limit
from acked_common.http.problems import ProblemError, problem
from acked_common.model.topics import ALL, IDS, NAMED
from acked_gateway.feed.entry import Guest, guest_of
from acked_gateway.feed.frames import (
    MAX_IDS,
    MAX_NAME_CHARS,
    FeedError,
    Subscribe,
    error_frame,
    resync_frame,
    topic_of,
    type_of,
)
from acked_gateway.feed.operations import FOLLOW_FEED, LAST_EVENT_ID, MAX_EVENT_ID_CHARS
from acked_gateway.feed.session import Feed, Session, count_refusal

RETRY_MS = (1000, 3000)
"""Bounds of the pause after which a client reconnects, each client with its own."""
RETRY_AT_STOP_MS = (100, 1000)
"""The same when this process stops: others already serve the port."""

HEARTBEAT = ": ping\n\n"
_HEADERS = {"Content-Type": EVENTS, "X-Accel-Buffering": "no"}
"""nginx would collect events in its buffer."""
_EVENTS = {"error": "problem"}
"""Event by frame type, where they differ: in a browser, `error` is the event of a lost connection."""
_RULES = {
    IDS: f"must be 1 to {MAX_IDS:,} ids, separated by commas",
    **dict.fromkeys(NAMED, f"may have at most {MAX_NAME_CHARS} characters"),
    ALL: "must be true",
}


class FeedStreams:
    """All event streams of the feed in one gateway process."""

    def __init__(self, feed: Feed, long_polls: Limit, stopping: asyncio.Event) -> None:
        """Take `stopping`, which is set when the process stops: all streams end then."""
        self._feed = feed
        self._long_polls = long_polls
        self._stopping = stopping

    def routes(self) -> list[EventStreamRoute]:
        """Return the route; it must stand before that of the WebSocket."""
        return [EventStreamRoute(self.follow, FOLLOW_FEED)]

    async def follow(self, request: Request) -> Response:
        """Return the stream of a request. Raise `ProblemError`."""
        guest = guest_of(request.scope.get(TOKEN_KEY))
        last_id = request.headers.get(LAST_EVENT_ID, "")
        if len(last_id) > MAX_EVENT_ID_CHARS:
            detail = f"{LAST_EVENT_ID} is the id of an event of this stream: at most {MAX_EVENT_ID_CHARS} characters"
            at = f"/headers/{LAST_EVENT_ID}"
            raise ProblemError(problem("invalid-field", detail, errors=[{"pointer": at, "detail": detail}]))
        wanted = subscriptions_of(request.query_params, tenant=guest.principal.tenant)
        if request.method == "HEAD":
            return _head_of_stream()
        return _Stream(self, guest, wanted, reconnects=bool(last_id))

    async def serve(self, stream: "_Stream", receive: Receive, send: Send) -> None:
        """Serve a stream to its end. Raise `ProblemError` before it begins."""
        holder = stream.guest.client
        try:
            with (
                self._long_polls.holding(holder),
                self._feed.limits.feeds.holding(holder),
                self._feed.session(stream.guest) as session,
            ):
                stream.subscribe(session)
                await self._send(session, receive, send)
        except ProblemError as error:
            count_refusal(error.problem.name)
            raise

    async def _send(self, session: Session, receive: Receive, send: Send) -> None:
        count = 0

        async def write(text: str, *, more: bool = True) -> bool:
            await send({"type": "http.response.body", "body": text.encode(), "more_body": more})
            return True

        async def write_frame(frame: str) -> bool:
            nonlocal count
            count += 1
            return await write(event_text(frame, f"{self._feed.boot}.{count}"))

        await send({"type": "http.response.start", "status": 200, "headers": _head_of_stream().raw_headers})
        await write(retry_text(RETRY_MS))
        await session.run(write_frame, _left(receive), self._stopping.wait())
        last = ""
        if session.is_dismissed:
            count_refusal("token")
            count += 1
            gone = problem("unknown-token", "the token was revoked or has expired meanwhile")
            last = event_text(error_frame(gone, None), f"{self._feed.boot}.{count}")
        elif self._stopping.is_set():
            last = retry_text(RETRY_AT_STOP_MS)
        await write(last, more=False)


class _Stream(Response):
    """The response of one stream."""

    def __init__(self, streams: FeedStreams, guest: Guest, wanted: list[Subscribe], *, reconnects: bool) -> None:
        super().__init__()
        self._streams = streams
        self.guest = guest
        self._wanted = wanted
        self._reconnects = reconnects

    def subscribe(self, session: Session) -> None:
        """Subscribe to what the request names. Raise `ProblemError`."""
        for wanted in self._wanted:
            if self._reconnects:
                # No gateway keeps what a client has missed: it discards what it knows, and gets a new snapshot.
                session.client.send_control(resync_frame(wanted.sub))
            try:
                session.subscriptions.subscribe(wanted)
            except FeedError as error:
                raise ProblemError(error.problem) from None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._streams.serve(self, receive, send)


def subscriptions_of(query: Mapping[str, str], *, tenant: str) -> list[Subscribe]:
    """Return a subscription for each scope of a query, named after its parameter. Raise `ProblemError`."""
    found = []
    for name in (IDS, *NAMED, ALL):
        # As everywhere in queries, an empty value counts as absent.
        if text := query.get(name):
            scope = text.split(",") if name == IDS else text == "true" if name == ALL else text
            try:
                found.append(Subscribe(name, topic_of({name: scope}, name, tenant)))
            except FeedError as error:
                which = f": {error.problem.detail}" if name == IDS and len(text.split(",")) <= MAX_IDS else ""
                raise bad_parameter(name, _RULES[name] + which) from None
    if not found:
        raise bad_parameter(ALL, f"is missing: send one of {IDS}, {', '.join(NAMED)} and {ALL}=true, or several")
    return found


def event_text(frame: str, event_id: str) -> str:
    """Encode one frame as a server-sent event; a ping as a comment, which clients skip."""
    kind = type_of(frame)
    if kind == "ping":
        return HEARTBEAT
    # Progress is stored as JSON that a handler's worker has encoded; between its parts, a line end means nothing.
    data = frame.replace("\r", " ").replace("\n", " ")
    return f"event: {_EVENTS.get(kind, kind)}\nid: {event_id}\ndata: {data}\n\n"


def retry_text(bounds_ms: tuple[int, int]) -> str:
    """Encode the pause after which a client reconnects."""
    return f"retry: {random.randint(*bounds_ms)}\n\n"


def _head_of_stream() -> Response:
    made = Response(headers=_HEADERS)
    # The body of a stream has no length.
    del made.headers["Content-Length"]
    return made


async def _left(receive: Receive) -> None:
    """Return when the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass
