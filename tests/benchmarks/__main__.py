"""The recipe `bench`: `python -m benchmarks [--quick|--long] [--only figure …] [--write docs/benchmarks.md]`."""

import argparse
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TextIO

from acked_common.runtime.setting_names import unknown_settings
from benchmarks import figures, machine
from benchmarks.bench import Bench, set_up
from benchmarks.ours import SETTINGS
from benchmarks.plan import LONG, QUICK, USUAL, Plan
from benchmarks.report import FigureResult, Run, bar_lines, figure_lines, merged, to_json, to_markdown
from deploy.native.layout import ROOT

FOLDER = ROOT / ".acked" / "bench"
METHOD = Path(__file__).with_name("method.md")
FIGURES: Mapping[str, Callable[[Bench], FigureResult]] = figures.ALL


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """What is to be measured, and where the page goes."""
    parser = argparse.ArgumentParser(prog="just bench", description="Ours and the peers, side by side on this machine.")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="one round of short windows: whether it works")
    length.add_argument(
        "--long", action="store_true", help="more rounds, 5 million stored jobs, 10 minutes of full load"
    )
    parser.add_argument("--only", nargs="+", choices=FIGURES, metavar="figure", help=f"of these: {', '.join(FIGURES)}")
    parser.add_argument("--write", type=Path, metavar="file", help="writes the page there, as docs/benchmarks.md")
    parser.add_argument("--own-load", action="store_true", help="our own clients instead of wrk")
    return parser.parse_args(arguments)


def plan_of(chosen: argparse.Namespace) -> Plan:
    """The plan that was chosen."""
    return QUICK if chosen.quick else LONG if chosen.long else USUAL


def measure_all(bench: Bench, run: Run, names: Sequence[str]) -> None:
    """Each figure, one after the other; one that fails does not keep the others from it."""
    for name in names:
        print(f"== {name}", flush=True)
        started = time.monotonic()
        try:
            result = FIGURES[name](bench)
        except Exception as error:
            run.failed[name] = f"{type(error).__name__}: {error}"
            print(f"{name} could not be measured: {error}", file=sys.stderr, flush=True)
            bench.leave(bench.ours)
            continue
        result.took_s = time.monotonic() - started
        run.figures.append(result)
        print("\n".join(figure_lines(result)))
        print(f"{name} took {result.took_s:.1f} s of {bench.plan.budgets_s[name]:g}", flush=True)


def write(run: Run, page: Path | None, *, is_part: bool) -> None:
    """JSON and Markdown below `.acked/bench`; the page where it was asked for: `is_part` replaces the measured figures
    in a page that is there."""
    stamp = datetime.now().astimezone().strftime("%Y%m%dT%H%M%S")
    (FOLDER / f"{stamp}.json").write_text(json.dumps(to_json(run), indent=2) + "\n")
    text = to_markdown(run, METHOD.read_text())
    kept = FOLDER / f"{stamp}.md"
    kept.write_text(text)
    if page is not None:
        method = METHOD.read_text()
        page.write_text(merged(page.read_text(), run, method) if is_part and page.exists() else text)
    print(f"written: {kept}, {stamp}.json{f', {page}' if page else ''}")


def main(arguments: Sequence[str]) -> int:
    """The exit code; no measured value makes it another one than 0."""
    if unknown := unknown_settings(os.environ):
        raise SystemExit("unknown settings; correct or unset them:\n  " + "\n  ".join(unknown))
    chosen = parse_arguments(arguments)
    plan = plan_of(chosen)
    names = [name for name in FIGURES if not chosen.only or name in chosen.only]
    FOLDER.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with (FOLDER / "lock").open("w") as lock:
        if not _locked(lock):
            print("just bench: another one runs in this checkout", file=sys.stderr)
            return 1
        try:
            with set_up(plan, frozenset(names), FOLDER, own_load=chosen.own_load) as bench:
                print(f"set up in {time.monotonic() - started:.1f} s", flush=True)
                run = Run(
                    plan=asdict(plan),
                    machine=machine.described(),
                    versions=machine.versions(bench),
                    settings=SETTINGS,
                    peers=[(peer.name, peer.does_not) for peer in bench.peers.values()],
                )
                measure_all(bench, run, names)
        except KeyboardInterrupt:
            print("just bench: interrupted; everything is stopped", file=sys.stderr)
            return 130
    run.took_s = time.monotonic() - started
    write(run, chosen.write, is_part=bool(chosen.only))
    print("\n".join(bar_lines([found for figure in run.figures for found in figure.judged])))
    for figure in run.figures:
        print(f"{figure.name:<12} {figure.took_s:7.1f} s of {plan.budgets_s[figure.name]:g}")
    print(f"{'all':<12} {run.took_s:7.1f} s, of {plan.within_s:g} s")
    return 1 if run.failed else 0


def _locked(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(*_: object) -> None:
    # Once is enough: what was started is being stopped.
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    # Whoever ends it, everything that it has started is stopped.
    for each in _SIGNALS:
        signal.signal(each, _interrupt)
    sys.exit(main(sys.argv[1:]))
