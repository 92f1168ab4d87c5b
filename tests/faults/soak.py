"""Faults mixed at random over one stack under load, until the time is over: `./just soak --minutes 60 --seed 7`.

Operators work meanwhile: bulk retries of failed jobs, run now of delayed ones, pauses of a kind. Some jobs are durable,
and clients send them signals.

`--kills 100` instead kills intake, gateway and workers so often at random moments. It goes in rounds: load and faults,
then peace, then the checker over all that is left; at the end an idle minute, behind which every process uses what it
used at first. It harms nothing but the stack that it starts, on loopback.
"""

import argparse
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from itertools import count
from pathlib import Path

from acked_common.model.bulk_actions import BulkVerb
from acked_common.model.lifecycle import State
from acked_common.runtime.setting_names import unknown_settings
from acked_common.store.mongo.connections import IDLE_CONNECTION_S
from faults.checker import Figures
from faults.durable import SIGNALS
from faults.experiment import Experiment, experiment
from faults.links import Link
from faults.process_stats import growth, process_stats
from faults.results import KEPT, Row, lines_of
from faults.rig import Rig, running_rig
from faults.schedule import BY_OPERATORS, Fault, Mishap, kills, mixed

ROUND_S = 60.0
KILLS_A_ROUND = 25
KILL_EVERY_S = 3.0
REST_S = 15.0
IDLE_S = IDLE_CONNECTION_S + 15.0
WORK_S = 0.5
DURABLE_SHARE, DURABLE_STEP_S = 1 / 60, 0.2
"""Of the load so many requests more are durable jobs, each with about twenty records."""
MOVED, MOVED_A_SECOND = 80, 15.0
"""Jobs that an operator moves: over several seconds, in which the next faults fall."""
AN_HOUR_S = 3600.0
MONGODB_BACK_S = 15.0
"""From its kill until it serves for certain."""
_groups = count(1)
WORST = frozenset({"taken_back_s", "claimed_again_s", "p99_ms"})
"""Figures of which the worst counts; all others are added up."""
MOST_MINUTES = 14 * 24 * 60.0
MOST_KILLS = 100_000
MOST_A_SECOND = 10_000.0


def operate(run: Experiment, mishap: Mishap) -> None:
    """What an operator does; it goes on while the next faults come."""
    group = f"group-{next(_groups)}"
    match mishap.fault:
        case Fault.RETRY_MANY:
            run.client.burst(MOVED, kind=mishap.target, seconds=WORK_S, group=group)
            run.operators.keep_moving(BulkVerb.RETRY, group, State.FAILED, MOVED_A_SECOND)
        case Fault.RUN_NOW:
            # These back off by themselves.
            delay_s = 0.0 if mishap.target == "fault.backs-off" else AN_HOUR_S
            run.client.burst(MOVED, kind=mishap.target, seconds=WORK_S, group=group, delay_s=delay_s)
            run.operators.keep_moving(BulkVerb.RUN_NOW, group, State.SCHEDULED, MOVED_A_SECOND)
        case Fault.PAUSE_KIND:
            run.operators.keep_paused(mishap.target, mishap.lasts_s)


def hides_pauses(mishap: Mishap) -> bool:
    """Whether workers may be unable to learn of a pause while it lasts."""
    is_paused = mishap.fault is Fault.PAUSE and mishap.target.startswith("worker")
    is_cut_off = mishap.fault is Fault.BREAK and mishap.target == Link.WORKER_MONGODB
    return is_paused or is_cut_off or mishap.target == "mongod"


def inflict(rig: Rig, run: Experiment, mishap: Mishap) -> None:
    """One mishap, from its beginning to its end."""
    if mishap.fault in BY_OPERATORS:
        operate(run, mishap)
        return
    begin = time.time()
    match mishap.fault:
        case Fault.KILL:
            rig.kill(mishap.target)
        case Fault.PAUSE:
            rig.pause(mishap.target)
            time.sleep(mishap.lasts_s)
            rig.resume(mishap.target)
        case Fault.RESTART:
            rig.stack.stack.parts.stop(mishap.target)
            rig.stack.stack.parts.start(mishap.target)
        case Fault.BREAK:
            assert mishap.how is not None
            rig.links.inflict(mishap.target, mishap.how)
            time.sleep(mishap.lasts_s)
            rig.links.heal()
    if hides_pauses(mishap):
        back_s = MONGODB_BACK_S if mishap.target == "mongod" else 0.0
        run.operators.pauses.disturbed.append((begin, time.time() + back_s))


def suffer(rig: Rig, run: Experiment, mishaps: Sequence[Mishap], rate: float, at_least_s: float) -> None:
    """Load and faults."""
    started = time.monotonic()
    run.durably()
    durable = {"kind": "fault.durable", "seconds": DURABLE_STEP_S, "signals": SIGNALS}
    with run.client.load(rate, seconds=WORK_S), run.client.load(rate * DURABLE_SHARE, **durable):
        run.wait_running(100)
        for mishap in mishaps:
            time.sleep(max(0.0, started + mishap.at_s - time.monotonic()))
            print(f"  {mishap}", flush=True)
            inflict(rig, run, mishap)
        time.sleep(max(0.0, started + at_least_s - time.monotonic()))
    commands = sum(mishap.fault in BY_OPERATORS for mishap in mishaps)
    run.note = f"{len(mishaps) - commands} faults, {commands} commands"
    if run.client.held_back:
        run.note += f", {run.client.held_back} requests held back"


def rounds(asked: argparse.Namespace) -> Iterator[tuple[list[Mishap], float]]:
    """The faults of each round and how long it lasts at least."""
    chance = random.Random(asked.seed)
    if asked.kills:
        left = asked.kills
        while left:
            number = min(KILLS_A_ROUND, left)
            left -= number
            yield list(kills(chance, number, KILL_EVERY_S)), 0.0
        return
    end = time.monotonic() + asked.minutes * 60
    while (left_s := end - time.monotonic() - REST_S) > 0:
        lasts_s = max(10.0, min(ROUND_S, left_s))
        yield list(mixed(chance, lasts_s)), lasts_s


def total(rows: Sequence[Row]) -> Row:
    """All rounds in one line."""
    summed = {
        field.name: (max if field.name in WORST else sum)(getattr(row.figures, field.name) for row in rows)
        for field in fields(Figures)
    }
    return Row("all rounds", Figures(**summed), sum(row.took_s for row in rows))


def soak(asked: argparse.Namespace, folder: Path) -> list[str]:
    """All that went wrong."""
    wrong: list[str] = []
    settings = {"ACKED_WORKER_SLOTS": "200", "ACKED_RETENTION_S": "900"}
    with running_rig(
        folder, scale={"worker": 2, "intake": 2, "gateway": 2}, environ=settings, has_links=not asked.kills
    ) as rig:
        # The base is a stack that has worked: connections and threads are made on the way.
        with experiment(rig, "warm-up") as run:
            suffer(rig, run, [], asked.rate, 10.0)
        base = process_stats(rig)
        for number, (mishaps, lasts_s) in enumerate(rounds(asked), 1):
            print(f"round {number}: {len(mishaps)} faults", flush=True)
            try:
                with experiment(rig, f"round {number}") as run:
                    suffer(rig, run, mishaps, asked.rate, lasts_s)
            except AssertionError as error:
                wrong.append(f"round {number}: {error}")
                print(f"  {error}", flush=True)
            wrong += [f"round {number}: {text}" for text in growth(base, process_stats(rig))]
        print(f"idle for {IDLE_S:g} s", flush=True)
        time.sleep(IDLE_S)
        at_rest = process_stats(rig)
        wrong += [f"at rest: {text}" for text in growth(base, at_rest, is_at_rest=True)]
        for part, one in sorted(at_rest.items()):
            print(f"{part}: at first {base.get(part)}\n{' ' * len(part)}  at rest  {one}")
    return wrong


def positive(unit: str, most: float) -> Callable[[str], float]:
    """Return a type for an option: a number above 0 and up to `most`. NaN and infinity are refused too."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        # NaN fails both comparisons.
        if not 0 < number <= most:
            raise argparse.ArgumentTypeError(f"{text[:40]!r}: give a number of {unit} above 0, at most {most:g}")
        return number

    return read


def count(text: str) -> int:
    """Read the number of kills; 0 stands for none."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) <= MOST_KILLS):
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: give a whole number of kills from 0 to {MOST_KILLS}")
    return int(text)


def options(words: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; refuse it with exit code 2 before anything starts."""
    parser = argparse.ArgumentParser(prog="./just soak", description=__doc__)
    parser.add_argument("--minutes", type=positive("minutes", MOST_MINUTES), default=60.0, help="duration (60)")
    parser.add_argument("--kills", type=count, default=0, help="kill services this often instead of running for a time")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(1_000_000), help="of the schedule; random and printed by default"
    )
    parser.add_argument("--rate", type=positive("requests a second", MOST_A_SECOND), default=300.0, help="load (300)")
    return parser.parse_args(words)


def main() -> int:
    """Run the soak and return the exit code."""
    if unknown := unknown_settings(os.environ):
        raise SystemExit("unknown settings; correct or unset them:\n  " + "\n  ".join(unknown))
    asked = options(sys.argv[1:])
    print(f"seed {asked.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="acked-soak-") as folder:
        wrong = soak(asked, Path(folder))
    print("\n".join([*lines_of([*KEPT, total(KEPT)]), *wrong, f"seed {asked.seed}: {len(wrong)} things went wrong"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
