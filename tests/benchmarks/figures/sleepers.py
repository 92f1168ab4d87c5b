"""Many sleeping jobs whose sleeps end at once: what they cost while they sleep, and how soon all are done."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from acked_common.model.lifecycle import LIVE
from benchmarks.bars import Bar, Side, judged
from benchmarks.bench import Bench
from benchmarks.draining import drain
from benchmarks.figures.starting import LATE_WITHIN_S, next_numbers
from benchmarks.line import Line, NotAccepted
from benchmarks.ours import TENANT
from benchmarks.processes import ChildError, rss_bytes, until
from benchmarks.report import FigureResult, Row
from benchmarks.rounds import Spread, percentile
from benchmarks.systems import start_body

NAME = "sleepers"
COLUMNS = {"done": "jobs/s", "start p50": "ms", "start p99": "ms", "worker memory": "MiB"}
_QUEUED = b'{"kind": "sleeper", "payload": {}}'
_PIECE_S = 0.5
_FILLS_WITHIN_S = 1200.0
_DONE_WITHIN_S = 1800.0
_PROBES = 300
"""At most so many jobs of the other tenant are timed before the sleeps end."""
_LEAST_PROBES = 20
_PAUSE_S = 0.005
_LOOK_S = 0.25
_LIVE = sorted(state.value for state in LIVE)


@dataclass(slots=True)
class _Found:
    """What one run came to."""

    drained_per_s: float = 0.0
    sleepers: int = 0
    storm_s: float = 0.0
    before: list[float] = field(default_factory=list)
    during: list[float] = field(default_factory=list)
    refused: int = 0
    memory: dict[str, float] = field(default_factory=dict)
    """MiB of all workers, by what they had just done."""


def measure(bench: Bench) -> FigureResult:
    """The figure."""
    ours = bench.ours
    ours.wake()
    found = _Found()
    try:
        _drain_queue(bench, found)
        due_at = _fall_asleep(bench, found)
        with Line(ours.port, ours.other_headers) as line:
            _storm(bench, found, line, due_at)
    finally:
        bench.leave(ours)
    return _result(found)


def _drain_queue(bench: Bench, found: _Found) -> None:
    """Jobs of the kind that do nothing, from a filled queue: the measure of the storm, and the workers' warm-up."""
    queued = bench.loader.post_until(
        bench.ours, bench.plan.sleepers, piece_s=_PIECE_S, within_s=_FILLS_WITHIN_S, body=_QUEUED
    )
    found.drained_per_s = drain(bench, bench.ours, queued, within_s=_DONE_WITHIN_S).per_s
    until(lambda: not _is_live(bench), within_s=_DONE_WITHIN_S, what="the queue is empty", every_s=_LOOK_S)
    found.memory["before"] = _memory_mib(bench)
    bench.say(f"{queued:,} queued jobs: {found.drained_per_s:,.0f}/s")


def _fall_asleep(bench: Bench, found: _Found) -> datetime:
    """All jobs that sleep are parked; when they are due."""
    due_at = datetime.now(UTC) + timedelta(seconds=bench.plan.sleepers_s)
    body = b'{"kind": "sleeper", "payload": {"until": "%s"}}' % due_at.isoformat().encode()
    found.sleepers = bench.loader.post_until(
        bench.ours, bench.plan.sleepers, piece_s=_PIECE_S, within_s=bench.plan.sleepers_s, body=body
    )

    def parked() -> int:
        count: int = bench.ours.jobs.count_documents({"state": "waiting", "kind": "sleeper"})
        return count

    # wrk does not count what is on its way when it ends.
    left_s = (due_at - datetime.now(UTC)).total_seconds() - 1
    every_s = max(_LOOK_S, found.sleepers / 100_000)
    until(lambda: parked() >= found.sleepers, within_s=left_s, what=f"{found.sleepers:,} jobs sleep", every_s=every_s)
    until(lambda: not _is_live(bench, asleep=False), within_s=left_s, what="no other job is live", every_s=_LOOK_S)
    found.sleepers = parked()
    found.memory["asleep"] = _memory_mib(bench)
    bench.say(f"{found.sleepers:,} jobs sleep, {(due_at - datetime.now(UTC)).total_seconds():.0f} s ahead of their end")
    return due_at


def _storm(bench: Bench, found: _Found, line: Line, due_at: datetime) -> None:
    """The other tenant's jobs are timed, before the sleeps end and until all sleepers are done."""

    def before() -> Iterator[None]:
        while datetime.now(UTC) < due_at - timedelta(seconds=1) and len(found.before) < _PROBES:
            yield

    _probe(bench, found, line, found.before, before())
    if len(found.before) < _LEAST_PROBES:
        raise ChildError("the sleeps ended before enough other jobs were timed: give them longer")
    time.sleep(max(0.0, (due_at - datetime.now(UTC)).total_seconds()))
    began = time.monotonic()
    peak: list[float] = []

    def during() -> Iterator[None]:
        looked_at = began
        while True:
            if time.monotonic() > looked_at + _LOOK_S:
                looked_at = time.monotonic()
                peak.append(_memory_mib(bench))
                if not _is_live(bench, tenant=TENANT):
                    return
                if looked_at > began + _DONE_WITHIN_S:
                    raise ChildError(f"sleepers are not done {_DONE_WITHIN_S:g} s after their sleeps ended")
            yield

    _probe(bench, found, line, found.during, during())
    found.storm_s = time.monotonic() - began
    found.memory["most while they end"] = max(peak)
    bench.say(f"all are done after {found.storm_s:.1f} s, {found.sleepers / found.storm_s:,.0f}/s")


def _probe(bench: Bench, found: _Found, line: Line, times: list[float], turns: Iterator[None]) -> None:
    """Times one job of the other tenant in each turn."""
    for _ in turns:
        number = next_numbers(1)
        sent_ns = time.monotonic_ns()
        try:
            line.post(start_body(number, "sleeper"))
        except NotAccepted:
            found.refused += 1
            continue
        started_ns = bench.starts.of(number, LATE_WITHIN_S)
        times.append(LATE_WITHIN_S * 1e3 if started_ns is None else (started_ns - sent_ns) / 1e6)
        time.sleep(_PAUSE_S)


def _is_live(bench: Bench, *, asleep: bool = True, tenant: str | None = None) -> bool:
    """Whether a job has not ended; without those `asleep`, if so asked."""
    states = [state for state in _LIVE if asleep or state != "waiting"]
    criteria = {"state": {"$in": states}, "wake": {"$exists": True}} | ({} if tenant is None else {"tenant": tenant})
    return bench.ours.jobs.find_one(criteria, {"_id": 1}) is not None


def _memory_mib(bench: Bench) -> float:
    workers = [pid for name, pid in bench.ours.service_pids().items() if name.startswith("worker-")]
    return sum(map(rss_bytes, workers)) / 2**20


def _result(found: _Found) -> FigureResult:
    result = FigureResult(NAME, f"{found.sleepers:,} sleeping jobs, due at once", COLUMNS)
    storm_per_s = found.sleepers / found.storm_s

    def row(name: str, **values: float) -> None:
        result.rows.append(Row(name, {column.replace("_", " "): Spread((value,)) for column, value in values.items()}))

    def starts(times: list[float]) -> dict[str, float]:
        return {"start_p50": percentile(times, 0.5), "start_p99": percentile(times, 0.99)}

    memory = found.memory
    row("as many queued jobs, drained", done=found.drained_per_s, worker_memory=memory["before"])
    row("while all sleep", **starts(found.before), worker_memory=memory["asleep"])
    last = memory["most while they end"]
    row("from their end until all are done", done=storm_per_s, **starts(found.during), worker_memory=last)
    p99 = percentile(found.during, 0.99) / percentile(found.before, 0.99)
    result.judged = judged(
        [
            (Bar("worker memory while all sleep ÷ before", Side.AT_MOST, 1.1), memory["asleep"] / memory["before"]),
            (Bar("worker memory, most while they end ÷ before", Side.AT_MOST, 1.1), last / memory["before"]),
            (Bar("requests of another tenant refused", Side.AT_MOST, 0), float(found.refused)),
            (Bar("start p99 of another tenant's jobs of the kind, during ÷ before", Side.AT_MOST, 2), p99),
            (
                Bar("time until all are done ÷ drain of as many queued jobs", Side.AT_MOST, 2),
                found.drained_per_s / storm_per_s,
            ),
        ]
    )
    result.notes.append(
        "All jobs are accepted, run and parked as usual, and their sleeps end at the same instant. Each then needs a "
        "resume, a claim, an open of its ledger and its end; a queued job a claim and its end. Meanwhile a client of "
        "another tenant sends jobs of the same kind, one at a time. Memory is the resident memory of both workers."
    )
    return result
