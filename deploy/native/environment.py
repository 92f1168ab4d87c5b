"""Store the environment of a stack's services: that of the last `up` or `restart`, whichever shell scales."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from acked_common.model.numbers import whole
from deploy.native.layout import Layout
from deploy.private_file import write_private

DEFAULT_DRAIN_S = 25.0
# What a worker needs beside its drain: claims under way, recording, closing.
DRAIN_MARGIN_S = 15.0
AHEAD = "ACKED_RESTART_AHEAD"


class EnvironmentValueError(Exception):
    """Signal that a variable of a recipe has an unusable value; the message says what to do."""


def keep(layout: Layout, environ: Mapping[str, str]) -> None:
    """Store the environment for all processes that start from now on, readable by the owner alone."""
    write_private(_file(layout), json.dumps(dict(environ)))


def kept(layout: Layout) -> dict[str, str] | None:
    """Return the stored environment; None for a stack that is down."""
    try:
        found: dict[str, str] = json.loads(_file(layout).read_text())
    except (OSError, ValueError):
        return None
    return found


def keep_for(layout: Layout, name: str, environ: Mapping[str, str]) -> None:
    """Store variables of a role or a part for its next start, for tests. An empty mapping removes them."""
    layout.run.mkdir(parents=True, exist_ok=True)
    file = _file(layout, name)
    fresh = file.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(dict(environ)))
    fresh.replace(file)


def kept_for(layout: Layout, part: str) -> dict[str, str]:
    """Return the additional variables of a part such as `worker-2`: those of its role, then its own."""
    found: dict[str, str] = {}
    for name in dict.fromkeys((part.split("-", 1)[0], part)):
        try:
            found |= json.loads(_file(layout, name).read_text())
        except (OSError, ValueError):
            continue
    return found


def forget(layout: Layout) -> None:
    """Remove everything stored: the stack is down."""
    for file in (_file(layout), *layout.run.glob("environment.*.json")):
        file.unlink(missing_ok=True)


def worker_stops_within_s(environ: Mapping[str, str]) -> int:
    """Return the seconds that a worker may take to stop before it is killed."""
    try:
        drain_s = float(environ.get("ACKED_DRAIN_S") or DEFAULT_DRAIN_S)
    except ValueError:
        # The worker itself says so, and does not start.
        drain_s = DEFAULT_DRAIN_S
    return math.ceil((drain_s if 0 <= drain_s < 1e9 else DEFAULT_DRAIN_S) + DRAIN_MARGIN_S)


def restart_ahead(environ: Mapping[str, str], number: int) -> int:
    """Return how many new processes of a service with `number` processes start before its old ones stop."""
    text = environ.get(AHEAD) or "all"
    if text == "all":
        return number
    try:
        ahead = whole(text)
    except ValueError:
        ahead = 0
    if not ahead:
        raise EnvironmentValueError(f"{AHEAD}={text[:80]}: must be all, or a number from 1")
    return min(ahead, number)


def _file(layout: Layout, name: str = "") -> Path:
    return layout.run / (f"environment.{name}.json" if name else "environment.json")
