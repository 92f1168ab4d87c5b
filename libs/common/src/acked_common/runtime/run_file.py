"""Publish the process id of a part and the ports of that one process, for recipes, Prometheus and tests."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

METRICS_SUFFIX = ".metrics"
"""Of the file beside the run file: it is there while `/metrics` has a port of its own."""


@contextmanager
def told_in(path: Path, *, health_port: int) -> Iterator[None]:
    """Store `{"pid", "health_port"}` of this process in `path` while the context lasts."""
    with _told(path, {"health_port": health_port}):
        yield


@contextmanager
def scraped_at(run_file: Path, *, address: str) -> Iterator[None]:
    """Store `{"pid", "address"}` of this process beside `run_file` while the context lasts.

    `address` is the host and port that serve `/metrics` alone.
    """
    with _told(run_file.with_suffix(METRICS_SUFFIX), {"address": address}):
        yield


@contextmanager
def _told(path: Path, members: Mapping[str, object]) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_bytes(msgspec.json.encode({"pid": os.getpid(), **members}))
    # A reader finds the old file or the whole new one.
    fresh.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
