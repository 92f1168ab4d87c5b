"""A receiver of callbacks on this machine: it keeps what it gets, and fails as often as a test wants."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

from support.nonce import nonce


@dataclass(frozen=True, slots=True)
class Call:
    """A request that the receiver got."""

    headers: dict[str, str]
    body: bytes

    @property
    def webhook_id(self) -> str:
        """The id of the event."""
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> Any:
        """Return the event. Raises `WebhookVerificationError`."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    """A server that responds with the given statuses in turn, then with 204."""

    statuses: list[int]
    calls: list[Call] = field(default_factory=list)
    port: int = 0
    more: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hook?token={nonce()}"

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """Keep a call; return the status of its response."""
        with self.more:
            self.calls.append(Call(headers, body))
            self.more.notify_all()
            return self.statuses.pop(0) if self.statuses else 204

    def wait(self, count: int) -> list[Call]:
        """Return the calls as soon as there are so many."""
        with self.more:
            assert self.more.wait_for(lambda: len(self.calls) >= count, 60), self.calls
            return list(self.calls)


@contextmanager
def receiving(*statuses: int) -> Iterator[Receiver]:
    """Run a receiver for as long as the block lasts."""
    receiver = Receiver(list(statuses))

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
        server.shutdown()
        server.server_close()
        thread.join()
