"""Load on an endpoint: by wrk where it can be had, else by our own clients."""

import itertools
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import generator, wrk
from benchmarks.plan import CONNECTIONS, MOST_SECONDS_OF_LOAD
from benchmarks.processes import Children
from benchmarks.systems import NOOP_BODY, System
from benchmarks.wrk import Load, Wrk


class LoadError(Exception):
    """Requests were refused or broken, so that the rate means nothing."""


@dataclass(frozen=True, slots=True)
class Loader:
    """Posts jobs as fast as the endpoint answers."""

    wrk: Wrk | None
    script: Path
    children: Children

    @property
    def name(self) -> str:
        """Who makes the load."""
        return "wrk" if self.wrk else "own clients (asyncio)"

    def post(
        self,
        system: System,
        *,
        seconds: float,
        keyed: bool = False,
        connections: int = CONNECTIONS,
        body: bytes = NOOP_BODY,
    ) -> Load:
        """The load on `POST /process` of a system, no-ops unless another `body` is given; `keyed` gives each request an
        Idempotency-Key of its own. Raises `LoadError` when more than one in a thousand is not accepted."""
        if seconds > MOST_SECONDS_OF_LOAD:
            raise LoadError(f"{seconds:g} s of load are more than {MOST_SECONDS_OF_LOAD:g}")
        prefix = f"bench-{secrets.token_hex(4)}-" if keyed else ""
        found = self._post(system, seconds, prefix, connections, body)
        if found.refused + found.broken > found.answered / 1000 or not found.answered:
            raise LoadError(
                f"{system.name}: of {found.answered} answers {found.refused} were refusals, {found.broken} calls broke"
            )
        return found

    def post_until(
        self, system: System, number: int, *, piece_s: float, within_s: float, body: bytes = NOOP_BODY
    ) -> int:
        """Posts until so many are accepted, in pieces of `piece_s`; answers how many were. Raises `LoadError` when it
        takes longer than `within_s`."""
        end = time.monotonic() + within_s
        accepted = 0
        while accepted < number:
            if time.monotonic() > end:
                raise LoadError(f"{accepted:,} of {number:,} jobs are accepted after {within_s:g} s")
            accepted += self.post(system, seconds=piece_s, body=body).accepted
        return accepted

    def _post(self, system: System, seconds: float, prefix: str, connections: int, body: bytes) -> Load:
        headers = dict(system.headers)
        if self.wrk is not None:
            url = f"http://127.0.0.1:{system.port}/process"
            return self.wrk.post(
                url,
                body,
                headers,
                connections=connections,
                seconds=seconds,
                key_prefix=prefix,
                script=self.script,
                children=self.children,
            )
        plain = generator.request_bytes(system.port, "/process", body, headers)
        numbers = itertools.count()

        def keyed() -> bytes:
            key = {"Idempotency-Key": f"{prefix}{next(numbers)}"}
            return generator.request_bytes(system.port, "/process", body, {**headers, **key})

        make = keyed if prefix else lambda: plain
        return generator.flood(system.port, make, connections=connections, seconds=seconds)


def make_loader(tools: Path, folder: Path, children: Children, *, own: bool = False) -> Loader:
    """With wrk where it can be had; `own` does without it."""
    return Loader(None if own else wrk.find(tools), folder / "load.lua", children)
