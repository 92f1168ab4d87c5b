"""Run the command line in this process against an HTTP server with prepared responses, and note what it is sent."""

import io
import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from acked_cli.app import run

PROBLEM = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Reply:
    """A prepared response; a body that is not bytes is sent as JSON."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Received:
    """A request that arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def problem(name: str, status: int, **members: Any) -> Reply:
    """Return a refusal."""
    document = {"type": f"/problems/{name}", "title": name, "status": status, "detail": "because"} | members
    return Reply(json.dumps(document).encode(), status, {"Content-Type": PROBLEM})


class Server:
    """Sends prepared responses: of each route the next one, the last one again and again."""

    def __init__(self) -> None:
        self.routes: dict[tuple[str, str], list[Reply]] = {}
        self.received: list[Received] = []
        self.url = ""

    def on(self, method: str, path: str, *replies: Any) -> None:
        """Prepare the responses of a route; what is no `Reply` is the body of a success."""
        self.routes[method, path] = [one if isinstance(one, Reply) else Reply(one) for one in replies]

    def reply_to(self, request: Received) -> Reply:
        self.received.append(request)
        replies = self.routes.get((request.method, request.path.partition("?")[0]))
        if replies is None:
            return problem("not-found", 404)
        return replies.pop(0) if len(replies) > 1 else replies[0]

    def sent(self, method: str, path: str) -> list[Received]:
        """Return the requests to a route."""
        return [one for one in self.received if (one.method, one.path.partition("?")[0]) == (method, path)]


@contextmanager
def serving() -> Iterator[Server]:
    """Serve on a free port of this machine; the gateway of the responses is intake too."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = server.reply_to(Received(self.command, self.path, headers, body))
            text = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            # It writes a `Date` of its own.
            (self.send_response_only if "Date" in reply.headers else self.send_response)(reply.status)
            for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_DELETE = _respond  # noqa: N815 - the names that the library calls

        def log_message(self, *arguments: Any) -> None:
            """Write nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[Any]:
        """The lines of JSON on standard output."""
        return [json.loads(line) for line in self.out.splitlines()]


class _Stream(io.TextIOWrapper):
    """A standard stream in memory, which may claim to be a terminal."""

    def __init__(self, content: bytes = b"", *, is_terminal: bool = False) -> None:
        super().__init__(io.BytesIO(content), encoding="utf-8", newline="", write_through=True)
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def text(self) -> str:
        self.seek(0)
        return self.read()


def acked(*words: str, typed: str = "", on_terminal: bool = False) -> Ended:
    """Run `acked` with these words; `typed` is standard input."""
    streams = [_Stream(typed.encode(), is_terminal=on_terminal), *(_Stream(is_terminal=on_terminal) for _ in "12")]
    before = sys.stdin, sys.stdout, sys.stderr
    sys.stdin, sys.stdout, sys.stderr = streams
    try:
        code = run(words)
    finally:
        sys.stdin, sys.stdout, sys.stderr = before
    return Ended(code, streams[1].text(), streams[2].text())
