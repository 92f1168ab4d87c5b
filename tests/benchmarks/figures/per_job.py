"""What one job costs at full rate: AMQP messages, MongoDB commands, and CPU of each process."""

import re
import time
from typing import Any

from acked_common.model.lifecycle import LIVE
from benchmarks.bars import Bar, Side, judged
from benchmarks.bench import Bench
from benchmarks.processes import ChildError, used_s
from benchmarks.report import FigureResult, Row
from benchmarks.rounds import Spread
from support.rabbitmqctl import rabbitmqctl

NAME = "per-job"
COLUMN = "per job"
_DONE_WITHIN_S = 120.0
_LOOK_S = 0.2
_SHOWN_COMMANDS = 6
_LIVE = sorted(state.value for state in LIVE)
_RECEIVED = re.compile(r"messages_received_total\s*=>\s*(\d+)")


def measure(bench: Bench) -> FigureResult:
    """The figure: from the first request until the last job is done, two workers on."""
    values: dict[str, list[float]] = {}
    bench.ours.wake()
    try:
        bench.ours.start_workers()
        bench.loader.post(bench.ours, seconds=bench.plan.warm_up_s)
        _wait_done(bench)
        for number in range(bench.plan.rounds):
            found, jobs = _one_round(bench)
            for name, value in found.items():
                values.setdefault(name, []).append(value)
            bench.say(f"round {number + 1}: {jobs:,} jobs, {found['AMQP messages']:.3f} messages each")
    finally:
        bench.leave(bench.ours)
    # What appeared in some rounds alone did not cost anything in the others.
    spreads = {name: Spread(tuple(found + [0.0] * (bench.plan.rounds - len(found)))) for name, found in values.items()}
    return _result(spreads)


def _one_round(bench: Bench) -> tuple[dict[str, float], int]:
    before = _used(bench)
    done_before = bench.ours.handled()
    load = bench.loader.post(bench.ours, seconds=bench.plan.per_job_s)
    # wrk does not count what is on its way when it ends; all of it is done.
    _wait_done(bench)
    after = _used(bench)
    jobs = bench.ours.handled() - done_before
    if jobs < load.accepted:
        raise ChildError(f"{load.accepted:,} jobs were accepted and {jobs:,} done")
    return {name: (after[name] - before.get(name, 0.0)) / jobs for name in after}, jobs


def _wait_done(bench: Bench) -> None:
    """Returns when no job is live."""
    end = time.monotonic() + _DONE_WITHIN_S
    while bench.ours.jobs.find_one({"wake": {"$exists": True}, "state": {"$in": _LIVE}}, {"_id": 1}) is not None:
        if time.monotonic() > end:
            raise ChildError(f"jobs are not done after {_DONE_WITHIN_S:g} s")
        time.sleep(_LOOK_S)


def _used(bench: Bench) -> dict[str, float]:
    """Counts and microseconds since everything started."""
    ours = bench.ours
    commands = _commands(ours.mongo.admin.command("serverStatus")["metrics"]["commands"])
    text = rabbitmqctl(ours.stack.layout, "eval", 'io:format("~p", [rabbit_global_counters:overview()]).')
    used = {f"CPU of {name}, µs": seconds * 1e6 for name, seconds in used_s(ours.pids()).items()}
    return {
        "AMQP messages": float(sum(map(int, _RECEIVED.findall(text)))),
        "MongoDB commands": float(sum(commands.values())),
        **{f"  {name}": float(count) for name, count in commands.items()},
        **used,
    }


def _commands(found: dict[str, Any]) -> dict[str, int]:
    return {name: int(entry["total"]) for name, entry in found.items() if isinstance(entry, dict) and "total" in entry}


def _result(spreads: dict[str, Spread]) -> FigureResult:
    result = FigureResult(NAME, "Cost of a job at full rate, two workers running", {COLUMN: ""})
    commands = sorted((name for name in spreads if name.startswith("  ")), key=lambda name: -spreads[name].median)
    cpu = [name for name in spreads if name.startswith("CPU")]
    for name in ("AMQP messages", "MongoDB commands", *commands[:_SHOWN_COMMANDS], *cpu):
        shown = f"of which {name.strip()}" if name.startswith("  ") else name
        result.rows.append(Row(shown, {COLUMN: spreads[name]}))
    total = sum(spreads[name].median for name in cpu)
    result.rows.append(Row("CPU of all processes, µs", {COLUMN: Spread((total,))}))
    result.judged = judged(
        [
            (Bar("AMQP messages per job", Side.AT_MOST, 0.2), spreads["AMQP messages"].median),
            (Bar("MongoDB commands per job", Side.AT_MOST, 0.2), spreads["MongoDB commands"].median),
        ]
    )
    result.notes.append(
        "Measured from the first request until the last job is recorded, and divided by the number of jobs. Messages "
        "are those that the broker received. Commands are all that MongoDB counted "
        "(`serverStatus().metrics.commands`), including sweepers and the change stream."
    )
    return result
