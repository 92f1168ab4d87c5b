"""What more work costs: many stored jobs, many waiting ones, and minutes of full load."""

import random
import threading
import time
from collections.abc import Sequence
from uuid import UUID

from acked_common.broker.rabbitmq.topology import lane_queue
from acked_common.model.lifecycle import State
from benchmarks import generator, stored_jobs
from benchmarks.bars import Bar, Side, judged
from benchmarks.bench import Bench
from benchmarks.broker_queues import purge
from benchmarks.processes import ChildError, rss_bytes
from benchmarks.report import FigureResult, Row
from benchmarks.rounds import Spread, ratio
from benchmarks.systems import NOOP_BODY, post_once
from deploy.native.processes import wait_until

NAME = "growth"
COLUMNS = {"accepted": "requests/s", "accept p99": "ms", "status p50": "ms", "status p99": "ms"}
MEMORY_NAME = "memory"
MEMORY_COLUMNS = {"after a quarter": "MiB", "at the end": "MiB", "growth": ""}
STATUS_PER_S = 200.0
_FEW_STORED = 1000
"""Beside none: the status of something has to be asked for."""
_DONE_WITHIN_S = 20.0
_FILLS_WITHIN_S = 240.0
_LOOKS = 24
_FLAT = 1.1
_SETTLES_S = 2.0

Values = dict[str, list[float]]


def measure(bench: Bench) -> FigureResult:
    """The figure: all steps with an empty queue, then with many waiting."""
    result = FigureResult(NAME, "Cost as work grows", COLUMNS)
    by_step: dict[str, dict[str, Spread]] = {}
    bench.ours.wake()
    try:
        _check_shape(bench)
        ids = stored_jobs.fill(bench.ours.jobs, _FEW_STORED)
        stored = 0
        for step in bench.plan.stored:
            started = time.monotonic()
            ids += stored_jobs.fill(bench.ours.jobs, step - stored)
            stored = step
            time.sleep(_SETTLES_S)
            bench.say(f"{step:,} jobs stored in {time.monotonic() - started:.0f} s")
            by_step[_stored_name(step)] = _rounds(bench, ids, forgets=True)
        # By the endpoint: they are in the broker too.
        bench.loader.post_until(bench.ours, bench.plan.waiting, piece_s=bench.plan.grown_s, within_s=_FILLS_WITHIN_S)
        waiting = f"{stored:,} jobs stored, {bench.plan.waiting:,} waiting"
        by_step[waiting] = _rounds(bench, ids, forgets=False)
    finally:
        bench.leave(bench.ours)
    none = by_step[_stored_name(0)]
    for name, spreads in by_step.items():
        result.rows.append(Row(name, spreads))
        if spreads is not none and name != waiting:
            accepted, status = (
                ratio(spreads["accepted"], none["accepted"]),
                ratio(spreads["status p99"], none["status p99"]),
            )
            result.judged += judged(
                [
                    (Bar(f"accepted with {name} ÷ with none", Side.AT_LEAST, 0.85), accepted),
                    (Bar(f"status p99 with {name} ÷ with none", Side.AT_MOST, 2), status),
                ]
            )
    result.notes.append(
        f"All workers are stopped. Statuses of random jobs are read {STATUS_PER_S:g} times a second. The row "
        f"without stored jobs has {_FEW_STORED:,}, so that there is a status to read. What each round accepts is "
        "removed afterwards, except in the last row."
    )
    return result


def _stored_name(step: int) -> str:
    return f"{step:,} jobs stored" if step else "no jobs stored"


def _check_shape(bench: Bench) -> None:
    bench.ours.start_workers(1)
    post_once(bench.ours.port, NOOP_BODY, bench.ours.headers)
    is_done = {"state": State.SUCCEEDED.value}
    wait_until(lambda: bench.ours.jobs.find_one(is_done) is not None, _DONE_WITHIN_S)
    done = bench.ours.jobs.find_one(is_done)
    if done is None:
        raise ChildError(f"no job is done within {_DONE_WITHIN_S:g} s")
    stored_jobs.check_shape(done)
    bench.ours.stop_workers()


def _rounds(bench: Bench, ids: Sequence[UUID], *, forgets: bool) -> dict[str, Spread]:
    values: Values = {column: [] for column in COLUMNS}
    for _ in range(bench.plan.rounds):
        load = bench.loader.post(bench.ours, seconds=bench.plan.grown_s)
        values["accepted"].append(load.per_s)
        values["accept p99"].append(load.p99_ms)
        if forgets:
            _forget_waiting(bench)
        # What was accepted is published first.
        time.sleep(_SETTLES_S / 2)
        answers = generator.paced(
            bench.ours.gateway_port,
            lambda _: generator.request_bytes(
                bench.ours.gateway_port, f"/status/{random.choice(ids)}", b"", bench.ours.headers, method="GET"
            ),
            per_s=STATUS_PER_S,
            seconds=bench.plan.grown_s,
        )
        if answers.refused or answers.broken:
            raise ChildError(f"of the status calls {answers.refused} were refused, {answers.broken} broke")
        found = answers.took(bench.plan.grown_s)
        values["status p50"].append(found.p50_ms)
        values["status p99"].append(found.p99_ms)
    return {column: Spread(tuple(found)) for column, found in values.items()}


def _forget_waiting(bench: Bench) -> None:
    bench.ours.jobs.delete_many({"state": State.QUEUED.value, "wake": {"$exists": True}})
    purge(bench.ours.stack.urls["amqp"], lane_queue("noop"))


def measure_memory(bench: Bench) -> FigureResult:
    """The figure: resident memory of each process under full load, two workers on."""
    bench.ours.wake()
    try:
        bench.ours.start_workers()
        pids = bench.ours.pids()
        looks: dict[str, list[float]] = {name: [] for name in pids}
        loading = threading.Thread(
            daemon=True, target=bench.loader.post, args=(bench.ours,), kwargs={"seconds": bench.plan.memory_s}
        )
        loading.start()
        for _ in range(_LOOKS):
            time.sleep(bench.plan.memory_s / _LOOKS)
            for name, pid in pids.items():
                looks[name].append(rss_bytes(pid) / 2**20)
        loading.join()
        if bench.ours.pids() != pids:
            raise ChildError("a process ended under load: its log is gone with the stack; run it with ./just up")
    finally:
        bench.leave(bench.ours)
    result = FigureResult(MEMORY_NAME, f"Memory over {bench.plan.memory_s:g} s of full load", MEMORY_COLUMNS)
    quarter = _LOOKS // 4
    for name, found in looks.items():
        early, late = Spread(tuple(found[quarter : 2 * quarter])), Spread(tuple(found[-quarter:]))
        grown = late.median / early.median
        values = {"after a quarter": early, "at the end": late, "growth": Spread((grown,))}
        result.rows.append(Row(name, values))
        if name.split("-")[0] in ("intake", "gateway", "worker"):
            result.judged += judged(
                [(Bar(f"memory of {name}, at the end ÷ after a quarter", Side.AT_MOST, _FLAT), grown)]
            )
    result.notes.append(
        "100 connections post without a pause while two workers run. Jobs are accepted faster than they are "
        "completed, so they accumulate: MongoDB fills its cache (1 GiB at most) and the broker holds the waiting "
        "bundles. Neither is judged."
    )
    return result
