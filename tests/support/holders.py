"""Clients that hold a service's capacity, and a neighbour whose service is measured meanwhile."""

import json
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from support.access import Client, problem_name

CALLS = 40


@contextmanager
def half_requests(port: int, requests: Sequence[bytes]) -> Iterator[list[socket.socket]]:
    """Open connections, each with a partial request; close them at the end."""
    with ExitStack() as stack:
        lines = []
        for request in requests:
            line = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            # The server may reject it while it is being sent.
            with suppress(OSError):
                line.sendall(request)
            lines.append(line)
        yield lines


def head(client: Client, line: str, *more: str) -> bytes:
    """Return the head of this client's request."""
    lines = [f"{line} HTTP/1.1", "Host: localhost", *(f"{k}: {v}" for k, v in client.headers.items()), *more, "", ""]
    return "\r\n".join(lines).encode()


def refusals(lines: Sequence[socket.socket], within_s: float = 5.0) -> Counter[str]:
    """Count the problems received so far by name; closed connections are not counted."""
    found: Counter[str] = Counter()
    end = time.monotonic() + within_s
    for line in lines:
        line.settimeout(max(0.01, min(0.05, end - time.monotonic())))
        with suppress(OSError):
            if name := re.search(rb'"type":"/problems/([a-z-]+)"', line.recv(65536)):
                found[name[1].decode()] += 1
    return found


def neighbour(ask: Callable[[], tuple[int, str]]) -> tuple[Counter[str], float]:
    """Return what a client's calls received, and their p99 in seconds."""
    answers: Counter[str] = Counter()
    took: list[float] = []
    for _ in range(CALLS):
        began = time.monotonic()
        status, name = ask()
        took.append(time.monotonic() - began)
        answers[f"{status} {name}".rstrip()] += 1
    return answers, sorted(took)[-1]


def asking(
    client: Client, method: str, path: str, body: object = None, *, to: str = "gateway"
) -> Callable[[], tuple[int, str]]:
    """Return one call, for `neighbour`."""

    def ask() -> tuple[int, str]:
        answer = client.call(method, path, body, to=to)
        return answer.status, problem_name(answer)

    return ask


def held(client: Client, limit: str, *, to: str = "gateway") -> float:
    """Return what all clients hold of one resource, by the metrics."""
    return _metric(client, f'acked_limit_held{{limit="{limit}"}}', to)


def refused(client: Client, limit: str, bound: str, *, to: str = "gateway") -> float:
    """Return how often a limit has refused a request."""
    return _metric(client, f'acked_limit_refused_total{{bound="{bound}",limit="{limit}"}}', to) or _metric(
        client, f'acked_limit_refused_total{{limit="{limit}",bound="{bound}"}}', to
    )


def _metric(client: Client, name: str, to: str) -> float:
    answer = client.call("GET", "/metrics", to=to)
    assert answer.status == 200, answer.raw
    for line in answer.raw.decode().splitlines():
        if line.startswith(name + " "):
            return float(line.rsplit(" ", 1)[1])
    return 0.0


def body_of(size: int) -> bytes:
    """Return a request body of about `size` bytes."""
    return json.dumps({"kind": "noop", "payload": "x" * (size - 40)}).encode()
