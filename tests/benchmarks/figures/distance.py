"""Jobs of several lengths at a steady rate, while MongoDB and RabbitMQ are some milliseconds away."""

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode, urlsplit

from acked_common.accounts.grants import Account
from acked_common.broker.rabbitmq.topology import lane_queue
from benchmarks import distance_proxy, generator
from benchmarks.bars import Bar, Judged, Side, judged
from benchmarks.bench import Bench
from benchmarks.broker_queues import purge
from benchmarks.peers_run import free_ports
from benchmarks.processes import until
from benchmarks.report import FigureResult, Row
from benchmarks.rounds import Spread, percentile
from deploy.native import environment
from deploy.native.launch import service_environment
from deploy.native.layout import ROOT

NAME = "distance"
COLUMNS = {"completed ÷ offered": "", "start p50": "ms", "start p95": "ms"}
PER_S = 150.0
RUNS_MS = (10, 120, 500)
QUICKEST_MS = RUNS_MS[0]
DONE = 0.95
TIMES_AS_LATE = 3.0
_ROLES = ("intake", "gateway", "worker")
_PASSWORD_FILES = ("ACKED_MONGO_PASSWORD_FILE", "ACKED_AMQP_PASSWORD_FILE")
_ENDS_WITHIN_S = 4.0
_LISTENS_WITHIN_S = 10.0
_WARM_UP_S = 1.0
_NUMBERS = itertools.count(1 << 32)
"""Apart from those of other figures."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What one measurement is of."""

    distance_ms: float
    intakes: int
    run_ms: int

    @property
    def name(self) -> str:
        """As it is shown."""
        return f"{self.distance_ms:g} ms each way, intake x {self.intakes}, jobs of {self.run_ms} ms"


@dataclass(frozen=True, slots=True)
class Found:
    """What it came to. Starts are milliseconds from when each job was due to be sent, of the last third of them."""

    done: float
    """Of the offered rate, in the last two thirds of the time."""
    starts_ms: tuple[float, ...]

    @property
    def p95_ms(self) -> float:
        """How late jobs start."""
        return percentile(self.starts_ms, 0.95)


def last_third(starts_ms: Sequence[float | None], late_ms: float) -> tuple[float, ...]:
    """The starts of the jobs that were sent last; one that did not start is as late as we have waited."""
    return tuple(late_ms if start is None else start for start in starts_ms[-max(1, len(starts_ms) // 3) :])


def bars(found: Mapping[Setting, Found]) -> list[Judged]:
    """Each bar with the worst that was measured."""
    done = min((one.done for one in found.values()), default=None)
    late = [
        one.p95_ms / quickest.p95_ms
        for setting, one in found.items()
        if setting.run_ms != QUICKEST_MS
        and (quickest := found.get(Setting(setting.distance_ms, setting.intakes, QUICKEST_MS)))
    ]
    return judged(
        [
            (Bar("jobs completed ÷ offered, minimum", Side.AT_LEAST, DONE), done),
            (
                Bar(f"start p95 in the last third ÷ that of {QUICKEST_MS}-ms jobs, maximum", Side.AT_MOST, 3),
                max(late, default=None),
            ),
        ]
    )


def measure(bench: Bench) -> FigureResult:
    """The figure: one worker, three intakes or one."""
    found: dict[Setting, Found] = {}
    with _far(bench) as tell:
        try:
            for intakes in bench.plan.distance_intakes:
                bench.ours.stack.scale({"intake": intakes, "worker": 1})
                for distance_ms, run_ms in itertools.product(bench.plan.distances_ms, RUNS_MS):
                    tell(distance_ms)
                    setting = Setting(distance_ms, intakes, run_ms)
                    found[setting] = _measure_one(bench, run_ms)
                    bench.say(f"{setting.name}: {found[setting].done:.2f} done, p95 {found[setting].p95_ms:.0f} ms")
        finally:
            tell(0.0)
            bench.ours.stack.scale({"intake": 1, "worker": 0})
    result = FigureResult(NAME, f"Distance: {PER_S:g} jobs/s, MongoDB and RabbitMQ some milliseconds away", COLUMNS)
    for setting, one in sorted(found.items(), key=lambda item: (item[0].distance_ms, item[0].intakes, item[0].run_ms)):
        values = (one.done, percentile(one.starts_ms, 0.5), one.p95_ms)
        result.rows.append(Row(setting.name, {n: Spread((v,)) for n, v in zip(COLUMNS, values, strict=True)}))
    result.judged = bars(found)
    result.notes.append(
        "One worker with 200 slots. A proxy delays each chunk that intake, gateway and worker exchange with MongoDB "
        "and RabbitMQ, in both directions. Completed jobs are those recorded in the last two thirds of the time. "
        "Starts are measured from the time at which each job was due to be sent, over the last third of the jobs."
    )
    return result


def _measure_one(bench: Bench, run_ms: int) -> Found:
    _send(bench, run_ms, _WARM_UP_S)
    seconds = bench.plan.distance_s
    counted: list[tuple[float, int]] = []

    def count() -> None:
        counted.append((time.monotonic(), bench.ours.handled()))

    early = threading.Timer(seconds / 3, count)
    early.start()
    due_ns = _send(bench, run_ms, seconds)
    count()
    early.join()
    end = time.monotonic() + _ENDS_WITHIN_S
    starts = [bench.starts.of(number, max(0.0, end - time.monotonic())) for number in due_ns]
    late_ms = _ENDS_WITHIN_S * 1e3
    starts_ms = [None if at is None else (at - due) / 1e6 for at, due in zip(starts, due_ns.values(), strict=True)]
    if None in starts_ms:
        # What is left would be in the way of the next measurement.
        purge(bench.ours.stack.urls["amqp"], lane_queue(f"wait_{run_ms}"))
    (from_s, before), (to_s, after) = counted
    return Found((after - before) / (PER_S * (to_s - from_s)), last_third(starts_ms, late_ms))


def _send(bench: Bench, run_ms: int, seconds: float) -> dict[int, int]:
    """When each job was due to be sent, in nanoseconds, by its number."""
    total = int(PER_S * seconds)
    numbers = list(itertools.islice(_NUMBERS, total))
    due_ns: dict[int, int] = {}
    ours = bench.ours

    def request(n: int) -> bytes:
        body = b'{"kind": "wait_%d", "payload": {"number": %d}}' % (run_ms, numbers[n])
        return generator.request_bytes(ours.port, "/process", body, ours.headers)

    generator.paced(
        ours.port, request, per_s=PER_S, seconds=seconds, sent=lambda n, at_ns: due_ns.update({numbers[n]: at_ns})
    )
    return due_ns


@contextmanager
def _far(bench: Bench) -> Iterator[Callable[[float], None]]:
    """Our services behind a proxy; gives what sets its milliseconds. They are at rest afterwards, as near as ever."""
    stack = bench.ours.stack
    bench.ours.rest()
    ports = stack.layout.ports
    control, mongo, rabbit = free_ports(3)
    pairs = (f"{mongo}:{ports.mongod}", f"{rabbit}:{ports.amqp}")
    proxy = bench.children.start(
        "distance",
        [sys.executable, "-m", "benchmarks.distance_proxy", str(control), *pairs],
        environ={"PYTHONPATH": str(ROOT / "tests")},
        cwd=ROOT,
    )

    def near(role: str) -> Mapping[str, str]:
        return service_environment(stack.layout, stack.service_environ, Account(role))

    def listens() -> bool:
        proxy.check_is_alive()
        try:
            distance_proxy.tell(control, 0.0)
        except OSError:
            return False
        return True

    until(listens, within_s=_LISTENS_WITHIN_S, what="the proxy listens")
    try:
        for role in _ROLES:
            environment.keep_for(stack.layout, role, _far_urls(near(role), mongo, rabbit))
        bench.ours.wake()
        yield lambda delay_ms: distance_proxy.tell(control, delay_ms)
    finally:
        bench.ours.rest()
        for role in _ROLES:
            environment.keep_for(stack.layout, role, {})
        bench.children.end(proxy)


def _far_urls(near: Mapping[str, str], mongo: int, rabbit: int) -> dict[str, str]:
    """The URLs of one service, with its accounts, by way of the proxy's ports."""
    urls = {name: urlsplit(near[name]) for name in ("ACKED_MONGO_URL", "ACKED_AMQP_URL")}
    user = {name: f"{url.username}@" if url.username else "" for name, url in urls.items()}
    of_account = parse_qs(urls["ACKED_MONGO_URL"].query).get("authSource")
    # The proxy is no member of the replica set: the driver must not look for the others.
    options = {"directConnection": "true", **({"authSource": of_account[0]} if of_account else {})}
    return {
        "ACKED_MONGO_URL": f"mongodb://{user['ACKED_MONGO_URL']}127.0.0.1:{mongo}/?{urlencode(options)}",
        "ACKED_AMQP_URL": f"amqp://{user['ACKED_AMQP_URL']}127.0.0.1:{rabbit}/",
        # Servers that a URL names are not the stack's own: it passes no passwords for them.
        **{name: near[name] for name in _PASSWORD_FILES if name in near},
    }
