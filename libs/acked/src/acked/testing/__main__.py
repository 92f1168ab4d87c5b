"""Crash-test a handler from the command line: `python -m acked.testing handlers/mine.py::renewal --plan plan.json`.

Prints a table of the points at which the handler was killed, and exits with 1 if it does not survive.
"""

import argparse
import asyncio
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from acked.registration import registry
from acked.testing.crashes import MOST_LIVES, USUAL, Handler, crash_report
from acked.testing.plan import KitPlan, KitPlanError, read_plan


class HandlerNotFound(Exception):
    """The handler to test can't be found; the message says what there is."""


def main(words: list[str] | None = None) -> int:
    """Run the command and return the exit code: 0, 1 if the handler does not survive, 2 for a wrong call."""
    parser = argparse.ArgumentParser(prog="python -m acked.testing", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("handler", metavar="FILE::HANDLER", help="a file, and the name of a function or kind in it")
    parser.add_argument("--plan", type=Path, metavar="PLAN.json", help="payload and events; without it no payload")
    parser.add_argument("--kills", type=int, choices=(1, 2), default=2, help="kills of one run (default 2)")
    parser.add_argument("--most-lives", type=int, default=MOST_LIVES, help="runs in all (default 2000)")
    parser.add_argument("--allow-outside", action="store_true", help="accept effects outside steps")
    chosen = parser.parse_args(words)
    try:
        handler = find_handler(chosen.handler)
        plan = KitPlan() if chosen.plan is None else read_plan(chosen.plan)
    except (HandlerNotFound, KitPlanError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    options = replace(USUAL, kills=chosen.kills, most_lives=chosen.most_lives, allow_outside=chosen.allow_outside)
    report = asyncio.run(crash_report(handler, plan, options))
    sys.stdout.write(report.table() + "\n")
    return 1 if report.problems else 0


def find_handler(text: str) -> Handler:
    """Return the handler that `FILE::NAME` names: a function of the file, or a kind that it registers."""
    file, _, name = text.rpartition("::")
    if not file:
        raise HandlerNotFound(f"write FILE::HANDLER, such as handlers/mine.py::renewal, not {text!r}")
    before = registry.snapshot()
    module = _load(Path(file))
    kinds = {kind.name: kind.function for kind in registry.values() if kind.name not in before}
    found: Any = getattr(module, name, None) or kinds.get(name)
    if not callable(found):
        known = ", ".join(sorted({*kinds, *(kind.__name__ for kind in kinds.values())})) or "no handler"
        raise HandlerNotFound(f"{file} has no handler {name!r}; it has {known}")
    handler: Handler = found
    return handler


def _load(path: Path) -> ModuleType:
    if not path.is_file():
        raise HandlerNotFound(f"{path} does not exist")
    # As workers do: files of the folder import each other.
    sys.path.insert(0, str(path.parent.resolve()))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise HandlerNotFound(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
