"""`dev`: restart the native workers of a checkout when a handler changes."""

import subprocess
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
import watchfiles

from acked_cli import settings
from acked_cli.invocation.exit_codes import ExitCode
from acked_cli.invocation.verb import Cli, usage, verb

REQUIREMENTS = "requirements.txt"
OUTPUT_LINES = 20
"""Of a restart that failed."""
MARKS = ("just", "justfile", "libs/cli/pyproject.toml")
"""Files that only a checkout has."""


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    verb(app, "dev")(dev)


def dev(cli: Cli) -> ExitCode | None:
    """Restart the workers whenever a handler changes.

    Of the native stack of this checkout. End it with Ctrl-C.
    """
    checkout = find_checkout(Path.cwd())
    folder = settings.handlers_dir(checkout)
    if not folder.is_dir():
        raise usage(f"{folder} is not a folder: correct {settings.HANDLERS_DIR}")
    cli.writer.note(f"watching {folder}; each change runs ./just restart worker")
    for changes in watchfiles.watch(folder, watch_filter=_concerns_handlers):
        found = react(checkout, folder, sorted({Path(path) for _, path in changes}))
        cli.writer.line("restart", {name: value for name, value in found.items() if name != "output"})
        for line in found.get("output", ()):
            cli.writer.note(f"  {line}")
    # The library ends the iteration after Ctrl-C.
    raise KeyboardInterrupt


def find_checkout(start: Path) -> Path:
    """Return the checkout that a folder belongs to. Raise `BadInput` if it belongs to none."""
    for folder in (start, *start.parents):
        if all((folder / mark).is_file() for mark in MARKS):
            return folder
    raise usage(f"{start} is not inside a checkout of Acked, whose ./just dev runs: change into a checkout")


def _concerns_handlers(_: watchfiles.Change, path: str) -> bool:
    found = Path(path)
    is_hidden = any(part.startswith(".") or part == "__pycache__" for part in found.parts[-2:])
    return not is_hidden and (found.suffix == ".py" or found.name == REQUIREMENTS)


def react(checkout: Path, folder: Path, changed: Iterable[Path]) -> dict[str, Any]:
    """Restart the workers, unless a changed file is no Python: then the present ones work on. Return what was done."""
    paths = list(changed)
    names = [str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path) for path in paths]
    found: dict[str, Any] = {"at": datetime.now(UTC), "changed": names}
    faults = list(_faults(paths))
    if faults:
        return found | {"outcome": "not restarted", "output": faults}
    began = time.monotonic()
    done = subprocess.run(
        [str(checkout / "just"), "restart", "worker"],
        cwd=checkout,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    found["took_s"] = round(time.monotonic() - began, 1)
    if done.returncode == 0:
        return found | {"outcome": "restarted"}
    output = done.stdout.decode("utf-8", "replace").splitlines()[-OUTPUT_LINES:]
    return found | {"outcome": f"./just exited with {done.returncode}", "output": output}


def _faults(paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        if path.suffix != ".py":
            continue
        try:
            compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
        except FileNotFoundError:
            # It was removed.
            continue
        except (SyntaxError, ValueError) as error:
            yield f"{path.name}: {error}"
