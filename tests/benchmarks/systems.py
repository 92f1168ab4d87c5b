"""What is measured: ours and the peers, by one interface."""

import http.client
import time
from collections.abc import Callable
from typing import Protocol

from benchmarks.processes import ChildError

NOOP_BODY = b'{"kind": "noop", "payload": {"number": 1}}'
SLOW_BODY = b'{"kind": "slow", "payload": {"number": 1}}'
STEPS_BODY = b'{"kind": "steps", "payload": {"number": 1}}'
WORKERS = 2
"""Worker processes of each system, where there are any."""


def start_body(number: int, kind: str = "start") -> bytes:
    """A job whose handler tells that it has started."""
    return b'{"kind": "%s", "payload": {"number": %d}}' % (kind.encode(), number)


class System(Protocol):
    """A system that takes jobs at an endpoint and runs them in workers."""

    name: str
    does_not: str
    """How it runs here, and what it does not do that ours does."""

    @property
    def port(self) -> int:
        """Where `POST /process` is."""
        ...

    @property
    def headers(self) -> dict[str, str]:
        """What its clients have to show."""
        ...

    def wake(self) -> None:
        """Starts its endpoint, empty and without workers, unless it is there; returns when it answers."""
        ...

    def start_workers(self) -> None:
        """Starts `WORKERS` worker processes; returns when they are about to work."""
        ...

    def stop_workers(self) -> None:
        """Stops them, whatever waits."""
        ...

    def handled(self) -> int:
        """No-ops that are done, since it was empty."""
        ...

    def empty(self) -> None:
        """Stops its workers and throws away what waits."""
        ...

    def rest(self) -> None:
        """Stops all of it and throws away what waits, so that it costs the others nothing."""
        ...


def post_once(port: int, body: bytes, headers: dict[str, str], *, timeout_s: float = 10.0) -> int:
    """The status of one call."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("POST", "/process", body, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def wait_answers(
    port: int, headers: dict[str, str], *, within_s: float, check: Callable[[], None] = lambda: None
) -> None:
    """Returns when the endpoint accepts a no-op; `check` raises where it never will."""
    end = time.monotonic() + within_s
    last: object = None
    while time.monotonic() < end:
        check()
        try:
            last = post_once(port, NOOP_BODY, headers)
            if last == 202:
                return
        except (OSError, http.client.HTTPException) as error:
            last = error
        time.sleep(0.05)
    raise ChildError(f"port {port} accepts nothing within {within_s:g} s; last: {last!r}")
