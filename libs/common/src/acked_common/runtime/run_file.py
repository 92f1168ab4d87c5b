"""Publish the process id of a part and the port of that one process, for recipes and tests."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec


@contextmanager
def told_in(path: Path, *, health_port: int) -> Iterator[None]:
    """Keep `{"pid", "health_port"}` of this process in `path` while the context lasts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode({"pid": os.getpid(), "health_port": health_port}))
    # A reader finds the old file or the whole new one.
    fresh.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
