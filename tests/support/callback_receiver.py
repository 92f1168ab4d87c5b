"""A real HTTP server that gets callbacks, and verifies them with the published library."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

from support.nonce import nonce

HELD_S = 60.0


@dataclass(frozen=True, slots=True)
class Call:
    """A request that the receiver got."""

    headers: dict[str, str]
    body: bytes

    @property
    def webhook_id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> Any:
        """Return the event. Raises `WebhookVerificationError`."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    """A server that answers with the given statuses in turn, then with 204."""

    statuses: list[int]
    calls: list[Call] = field(default_factory=list)
    port: int = 0
    more: threading.Condition = field(default_factory=threading.Condition)
    may_respond: threading.Event = field(default_factory=threading.Event)
    """Cleared, it holds the responses of calls that have arrived."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token={nonce()}"

    def take(self, headers: dict[str, str], body: bytes) -> int:
        with self.more:
            self.calls.append(Call(headers, body))
            self.more.notify_all()
            status = self.statuses.pop(0) if self.statuses else 204
        self.may_respond.wait(HELD_S)
        return status

    def wait(self, count: int) -> list[Call]:
        with self.more:
            assert self.more.wait_for(lambda: len(self.calls) >= count, 60), self.calls
            return list(self.calls)

    def wait_until(self, holds: Callable[[Sequence[Call]], bool], *, within_s: float = 90.0) -> list[Call]:
        """Wait until the calls that arrived have a property, and return them."""
        with self.more:
            assert self.more.wait_for(lambda: holds(self.calls), within_s), self.calls
            return list(self.calls)


@contextmanager
def receiving(*statuses: int) -> Iterator[Receiver]:
    """Run a receiver on a port of its own."""
    receiver = Receiver(list(statuses))
    receiver.may_respond.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = receiver.take({name.lower(): value for name, value in self.headers.items()}, body)
            said = b"" if status == 204 else b"x" * 5000
            self.send_response(status)
            if 300 <= status <= 399:
                self.send_header("location", receiver.url)
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.may_respond.set()
        server.shutdown()
        server.server_close()
        thread.join()
