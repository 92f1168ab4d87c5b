"""A process of followers, as the benchmark sees it."""

import json
import os
import resource
import selectors
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.followers import Counted, Order
from benchmarks.processes import ChildError
from deploy.native.layout import ROOT

FOLLOW_WITHIN_S = 150.0
ANSWERS_WITHIN_S = 60.0


class Crowd:
    """Followers that all follow; a context manager."""

    def __init__(self, order: Order) -> None:
        self._order = order

    def __enter__(self) -> "Crowd":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.followers"],
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=_raise_file_limit,
        )
        try:
            self._tell(json.dumps(asdict(self._order)))
            found = self._answer(FOLLOW_WITHIN_S)
            if found != {"following": self._order.clients}:
                raise ChildError(f"{self._order.clients:,} clients should follow: {found}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        Path(self._order.heard).unlink(missing_ok=True)

    def go(self) -> None:
        """Counts from now on."""
        self._tell("go")

    def wait_events(self, number: int, within_s: float) -> None:
        """Returns when so many events have come since `go`, or when the time is over."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            self._tell("now")
            if Counted(**self._answer(ANSWERS_WITHIN_S)).events >= number:
                return
            time.sleep(0.05)

    def end(self) -> Counted:
        """What came since `go`."""
        self._tell("end")
        return Counted(**self._answer(ANSWERS_WITHIN_S))

    def heard(self) -> list[tuple[str, int, int]]:
        """What sampled clients heard between `go` and `end`: job, rev, and the instant in nanoseconds."""
        lines = Path(self._order.heard).read_text().splitlines()
        return [(job_id, int(rev), int(at)) for job_id, rev, at in map(str.split, lines)]

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _answer(self, within_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(within_s):
                raise ChildError(f"the clients of the feed say nothing within {within_s:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise ChildError("the clients of the feed ended; what they said is above")
        found: dict[str, Any] = json.loads(line)
        return found


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
