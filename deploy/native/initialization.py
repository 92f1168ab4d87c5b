"""Run the step before services start: schema, queues and kinds. It imports the handlers, which may take minutes."""

import json
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from deploy.native.failure import LOG_LINES
from deploy.native.layout import ROOT
from deploy.native.patience import importing_text


class InitFailed(Exception):
    """Signal that the step failed; the message has the last lines of its log."""


def initialize(command: Sequence[str], environ: Mapping[str, str], *, told: Callable[[str], object]) -> None:
    """Run the step. `told` gets its warnings; the progress of an import is printed. Raises `InitFailed`."""
    said: deque[str] = deque(maxlen=LOG_LINES)
    # Leaving the context waits for its end, also where this is interrupted.
    with subprocess.Popen(
        command,
        env=environ,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as init:
        try:
            for line in init.stdout or ():
                said.append(line.rstrip())
                if text := importing_text(line):
                    print(f"init: {text}", flush=True)
                elif (warning := _warning_in(line)) is not None:
                    told(f"warning: {warning}")
        except BaseException:
            init.kill()
            raise
    if init.returncode != 0:
        lines = "\n  ".join(said)
        raise InitFailed(f"init failed:\n  {lines}")


def _warning_in(line: str) -> str | None:
    """Return the warning in a line of a service's log; None if it has none."""
    try:
        entry = json.loads(line)
        return f"{entry['event']}: {entry['file']}" if entry["level"] == "warning" else None
    except (ValueError, KeyError, TypeError):
        return None
