"""Write files that only their owner can read, atomically: after a crash the old text or the new one is there."""

import os
from pathlib import Path


def write_private(file: Path, text: str) -> None:
    """Replace the file with one of mode 600, synced when this returns; create its folder with mode 700."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # A link leads to the file that is meant.
    file = file.resolve()
    fresh = file.with_name(f".{file.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(descriptor)
    fresh.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
