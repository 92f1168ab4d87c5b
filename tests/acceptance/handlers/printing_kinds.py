"""Kinds that print, in every way that a process has."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from acked import Context, handler

PIECE = 1 << 20


def _lines(count: int, write: Callable[[str], object]) -> None:
    line = "x" * 1023 + "\n"
    for _ in range(count * 1024):
        write(line)


def _log(ctx: Context, count: int) -> None:
    for _ in range(count * 1024):
        ctx.log.info("x" * 900)
        logging.getLogger("my.app").warning("x" * 100)


def _program(count: int) -> None:
    subprocess.run(
        [sys.executable, "-c", f"import os\nfor _ in range({count}): os.write(2, b'y' * {PIECE})"], check=True
    )


def _write(count: int, piece: bytes) -> None:
    for _ in range(count):
        left = piece
        while left:
            left = left[os.write(1, left) :]


@handler("test.prints", max_attempts=1, timeout_s=120)
def prints(ctx: Context, payload: Any) -> str:
    """Prints so many megabytes."""
    count = payload["mb"]
    match payload["how"]:
        case "stdout":
            _lines(count, sys.stdout.write)
        case "stderr":
            _lines(count, sys.stderr.write)
        case "no newline":
            _write(count, b"x" * PIECE)
        case "binary":
            _write(count, bytes(range(256)) * (PIECE // 256))
        case "program":
            _program(count)
        case "log":
            _log(ctx, count)
    sys.stdout.flush()
    return "printed"
