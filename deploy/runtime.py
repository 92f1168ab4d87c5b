"""Choose where Acked runs on this machine: in containers or natively. `up` chooses, `down` forgets.

`python -m deploy.runtime <verb> …` passes a recipe to the chosen runtime.
"""

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deploy import console

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / ".acked" / "runtime"
NAMES = ("docker", "native")


class RuntimeChoiceError(Exception):
    """Signal that the requested runtime can't be used; the message says what to do."""


def kept_file() -> Path:
    """Return the file with the choice for this stack: two stacks of one checkout may use different runtimes."""
    state = os.environ.get("ACKED_STATE_DIR")
    return Path(state) / "runtime" if state else KEPT


def kept_runtime(file: Path | None = None) -> str | None:
    """Return the runtime that `up` chose; None if Acked is down."""
    try:
        name = (file or kept_file()).read_text().strip()
    except OSError:
        return None
    return name if name in NAMES else None


def keep_runtime(name: str, file: Path | None = None) -> None:
    """Store the choice for the other recipes."""
    file = file or kept_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{name}\n")


def forget_runtime(file: Path | None = None) -> None:
    """Remove the choice: Acked is down, and the next `up` chooses again."""
    (file or kept_file()).unlink(missing_ok=True)


def choose(
    verb: str, environ: Mapping[str, str], kept: str | None, why_not_docker: Callable[[], str | None]
) -> tuple[str, str | None]:
    """Return the runtime for a recipe, and the reason if it is not obvious. Raise `RuntimeChoiceError`."""
    forced = environ.get("ACKED_RUNTIME") or None
    if forced is not None and forced not in NAMES:
        raise RuntimeChoiceError(f"ACKED_RUNTIME={forced}: must be docker or native")
    if kept is not None:
        if forced not in (None, kept):
            raise RuntimeChoiceError(f"Acked is up with the runtime {kept}: ./just down first, then ./just up")
        return kept, None
    if verb != "up" or forced is not None:
        if verb == "up" and forced == "docker" and (problem := why_not_docker()) is not None:
            raise RuntimeChoiceError(f"docker can't be used: {problem}")
        return forced or "native", None
    problem = why_not_docker()
    return ("docker", None) if problem is None else ("native", f"native, because {problem}")


def main(arguments: Sequence[str]) -> int:
    """Run the recipe and return the exit code."""
    from deploy.docker.engine import why_not
    from deploy.settings_resolution import SettingsRefusedError, refuse_unknown

    verb = arguments[0] if arguments else ""
    try:
        refuse_unknown(os.environ)
        name, line = choose(verb, os.environ, kept_runtime(), why_not)
    except (SettingsRefusedError, RuntimeChoiceError) as error:
        print(f"just {verb}: {error}", file=sys.stderr)
        return 1
    if line is not None:
        print(f"runtime: {line}", flush=True)
    code: int = importlib.import_module(f"deploy.{name}.__main__").main(arguments)
    return code


if __name__ == "__main__":
    sys.exit(console.run(f"just {sys.argv[1]}" if sys.argv[1:] else "just", lambda: main(sys.argv[1:])))
