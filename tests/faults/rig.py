"""The rig: a stack of real processes with breakable links, and what breaks them."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from deploy.native import environment
from deploy.native.layout import Layout, Ports
from deploy.native.stack import Stack, free_port_base
from faults.evidence import Loss
from faults.links import Links
from support.freezing import freeze
from support.loop_thread import LoopThread
from support.stacks import QUICK, TestStack, eventually, never_orphaned

HANDLERS = Path(__file__).parent / "handlers"
LEASE_S = float(QUICK["ACKED_LEASE_S"])
SWEEP_TICK_S = float(QUICK["ACKED_SWEEP_TICK_S"])
TAKEN_BACK_WITHIN_S = LEASE_S + SWEEP_TICK_S + 4.0
"""In peace two seconds beside lease and tick are plenty; a busy machine adds to them."""
BACK_WITHIN_S = 150.0
"""On a busy machine RabbitMQ alone takes a minute to listen again."""
SERVICES = ("intake", "gateway", "worker")
SETTINGS = {
    **QUICK,
    "ACKED_HANDLERS_DIR": str(HANDLERS),
    "ACKED_WORKER_SLOTS": "100",
    "ACKED_DRAIN_S": "3",
    "ACKED_HOLD_S": "2",
}


class Rig:
    """One stack under test and the hands that harm it."""

    def __init__(
        self, stack: Stack, folder: Path, outside: LoopThread, links: Links | None, mongo_url: str | None = None
    ) -> None:
        self.stack = TestStack(stack)
        self.folder = folder
        self.outside = outside
        self._links = links
        self.effects = folder / "effects.jsonl"
        self.losses: list[Loss] = []
        self._paused: dict[str, int] = {}
        self._mongo: MongoClient[dict[str, Any]] = MongoClient(
            mongo_url or stack.urls["mongo"],
            tz_aware=True,
            uuidRepresentation="standard",
            serverSelectionTimeoutMS=30_000,
        )

    @property
    def links(self) -> Links:
        """The breakable links."""
        assert self._links is not None, "this rig has no proxies"
        return self._links

    @property
    def database(self) -> Any:
        """MongoDB, past all proxies."""
        return self._mongo["acked"]

    @property
    def mongo(self) -> Any:
        """MongoDB's commands, past all proxies."""
        return self._mongo.admin

    def parts(self, *roles: str) -> list[str]:
        """The running parts of some services; of all without a word."""
        return sorted(part for part in self.stack.stack.parts.known() if part.split("-")[0] in (roles or SERVICES))

    def pid(self, part: str) -> int:
        """The process of a part that runs."""
        return int(eventually(lambda: self.stack.stack.parts.pid(part), within_s=BACK_WITHIN_S, what=f"{part} runs"))

    def kill(self, *parts: str) -> None:
        """SIGKILL to parts; the supervisor brings them back."""
        for pid in [self.pid(part) for part in parts]:
            self.losses.append(Loss(pid, time.time()))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def pause(self, part: str) -> None:
        """SIGSTOP to a part, until `resume` or the end of the experiment."""
        pid = self.pid(part)
        self._paused[part] = pid
        self.losses.append(Loss(pid, time.time()))
        freeze(pid)

    def resume(self, *parts: str) -> None:
        """SIGCONT to parts that are paused; to all without a word."""
        for part in parts or tuple(self._paused):
            with suppress(ProcessLookupError):
                os.kill(self._paused.pop(part), signal.SIGCONT)

    def tell(self, part: str, variables: Mapping[str, str]) -> None:
        """What a part alone is told from its next start on, beside what its role is told."""
        environment.keep_for(self.stack.stack.layout, part, variables)

    def crash_in_turn(self, part: str, plans: Sequence[tuple[str, int]]) -> None:
        """Kills a part; its next process dies at the first failpoint, the one after it at the second, and so on.

        A plan is a point and its number of arrivals. Returns when all have died there.
        """
        before = {point: self._counts([part], point) for point, _ in plans}
        self.tell(part, {"ACKED_CRASH": _killed_at(*plans[0])})
        self.kill(part)
        following = [{"ACKED_CRASH": _killed_at(*plan)} for plan in plans[1:]] + [{}]
        for (point, nth), told_next in zip(plans, following, strict=True):
            armed, crashed = before[point]
            eventually(
                lambda point=point, armed=armed: self._counts([part], point)[0] > armed,  # type: ignore[misc]
                within_s=BACK_WITHIN_S,
                what=f"{part} is back, to die at {point}",
            )
            doomed = self.stack.stack.parts.pid(part)
            self.tell(part, told_next)
            eventually(
                lambda point=point, crashed=crashed: self._counts([part], point)[1] > crashed,  # type: ignore[misc]
                within_s=BACK_WITHIN_S,
                what=f"{part} comes to {point} for the {nth}th time",
            )
            self.losses.append(Loss(doomed, time.time()))

    def stall_once(self, part: str, point: str, *, nth: int, for_s: float) -> Callable[[], bool]:
        """Kills a part; its next process stalls at the nth arrival at a failpoint. Returns when it is armed; the result
        tells whether it has come there."""
        armed, stalled = self._counts([part], point)
        self.tell(part, {"ACKED_CRASH": f"{point}:{nth}:sleep={for_s:g}"})
        self.kill(part)
        eventually(
            lambda: self._counts([part], point)[0] > armed, within_s=BACK_WITHIN_S, what=f"{part} is back, to stall"
        )
        self.tell(part, {})
        return lambda: self._counts([part], point)[1] > stalled

    def _counts(self, parts: Sequence[str], point: str) -> tuple[int, int]:
        """How often processes of some parts were armed for a point, and how often one has died there."""
        lines = [
            line
            for part in parts
            for line in (self.stack.stack.layout.logs / f"{part}.log").read_text(errors="replace").splitlines()
            if f'"point": "{point}"' in line
        ]
        return sum("ARMED" in line for line in lines), sum('"event": "failpoint"' in line for line in lines)

    def crash_together(self, parts: Sequence[str], point: str) -> None:
        """Kills parts, lets whichever of their next processes comes to a failpoint die there, and returns then."""
        before = self._counts(parts, point)[1]
        for part in parts:
            self.tell(part, {"ACKED_CRASH": _killed_at(point, 1)})
        self.kill(*parts)
        eventually(
            lambda: self._counts(parts, point)[1] > before,
            within_s=BACK_WITHIN_S,
            what=f"one of {', '.join(parts)} comes to {point}",
        )
        for part in parts:
            self.tell(part, {})
        self.kill(*parts)

    def heal(self) -> None:
        """Ends every fault that lasts."""
        self.resume()
        if self._links is not None:
            self._links.heal()

    def wait_whole(self) -> None:
        """Returns when every service is ready again."""
        stack = self.stack.stack
        for part in self.parts():
            eventually(
                lambda part=part: stack.parts.readiness(part) in ("ready", "degraded"),  # type: ignore[misc]
                within_s=BACK_WITHIN_S,
                what=f"{part} is ready",
            )

    def wait_broker(self) -> None:
        """Returns when RabbitMQ and its consumers are back."""
        port = self.stack.stack.layout.ports.amqp

        def answers() -> bool:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return True

        eventually(answers, within_s=BACK_WITHIN_S, what="RabbitMQ answers")
        self.wait_whole()

    def close(self) -> None:
        """Lets go of everything, the stack itself excepted."""
        self.heal()
        self._mongo.close()


def _killed_at(point: str, nth: int) -> str:
    return f"{point}:{nth}:kill"


@contextmanager
def running_rig(
    folder: Path,
    *,
    scale: Mapping[str, int],
    environ: Mapping[str, str] | None = None,
    has_links: bool = True,
    mongo_url: str | None = None,
) -> Iterator[Rig]:
    """A rig that is ready, and gone afterwards. `mongo_url`: a MongoDB that the test has started."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ACKED_")}
    layout = Layout(folder.resolve(), Ports(free_port_base()), own_mongod=mongo_url is None)
    settings = {**inherited, **SETTINGS, "FAULTS_EFFECTS": str(layout.state / "effects.jsonl"), **(environ or {})}
    if mongo_url is not None:
        settings["ACKED_MONGO_URL"] = mongo_url
    stack = Stack(layout, settings)
    stack.scale(scale)
    outside = LoopThread("outside")
    links = Links(outside, stack) if has_links else None
    rig = Rig(stack, layout.state, outside, links, mongo_url)
    with never_orphaned(layout):
        try:
            stack.up()
            yield rig
        finally:
            rig.close()
            stack.down()
            if links is not None:
                links.close()
            outside.stop()
