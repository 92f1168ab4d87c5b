"""Run the second tier of tests, which takes too long for `.ci/run`, and time each part: `./just test full`."""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy import console

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Part:
    """One program of a tier; `needs_tests` means that it is in the folder of the tests."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    needs_tests: bool = False


MILLION = ("integration", "acceptance", "-k", "many_ended", "--ended-jobs", "1000000")
FULL = (
    Part("every folder", "deploy.testing"),
    Part("long tests", "deploy.testing", ("integration", "acceptance", "faults", "-m", "long")),
    Part("coverage", "deploy.coverage"),
    Part("faults", "deploy.testing", ("faults",)),
    Part("20,000 seeds", "deploy.testing", ("simulation", "--seeds", "20000")),
    Part("other Pythons", "deploy.pythons", ("unit", "simulation", "contracts", "integration")),
    Part("mutants", "mutants", needs_tests=True),
    Part("a million jobs", "deploy.testing", MILLION),
    Part("soak", "faults.soak", ("--minutes", "30"), needs_tests=True),
)


def run(parts: tuple[Part, ...] = FULL) -> int:
    """Run every part, also after one that failed; return the first exit code that is not 0."""
    failed = 0
    lines: list[str] = []
    for part in parts:
        print(f"==== {part.name}", flush=True)
        environ = dict(os.environ)
        if part.needs_tests:
            environ["PYTHONPATH"] = os.pathsep.join((str(ROOT / "tests"), str(ROOT)))
        started = time.monotonic()
        code = console.start_module(part.module, *part.arguments, cwd=ROOT, env=environ).wait()
        lines.append(f"{part.name:<14} {'passed' if code == 0 else 'FAILED'} in {time.monotonic() - started:7.1f} s")
        failed = failed or code
    print("\n".join(lines), flush=True)
    return failed


def main(words: Sequence[str]) -> int:
    """Run the full tier, which takes no options: hours of work start by no accident."""
    if words:
        print(f"just test full: takes no options, and not {words[0]!r}", file=sys.stderr)
        return 2
    return run()


if __name__ == "__main__":
    sys.exit(console.run("just test full", lambda: main(sys.argv[1:])))
