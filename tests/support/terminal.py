"""A program in a pseudo terminal."""

import fcntl
import os
import pty
import subprocess
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.stacks import eventually

WITHIN_S = 60.0


class Terminal:
    """A program in a pseudo terminal: what it shows, and what is typed."""

    def __init__(self, controller: int, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self._controller = controller
        self._shown = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                found = os.read(self._controller, 4_096)
            except OSError:
                # Linux reports the end of a pseudo terminal as an error.
                return
            if not found:
                return
            self._shown += found

    @property
    def shown(self) -> str:
        return self._shown.decode("utf-8", "replace")

    def wait_for(self, text: str) -> None:
        eventually(lambda: text in self.shown, within_s=WITHIN_S, what=f"{text!r} on the terminal")

    def type(self, text: str) -> None:
        os.write(self._controller, text.encode())

    def ended(self) -> int:
        return self.process.wait(WITHIN_S)


@contextmanager
def terminal(program: Path, environ: dict[str, str], *words: str) -> Iterator[Terminal]:
    """Run a program with a terminal of its own. At the end the terminal must be as it was."""
    controller, follower = pty.openpty()
    before = termios.tcgetattr(follower)

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [str(program), *words],
        env=environ,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        preexec_fn=take_terminal,
    )
    try:
        yield (found := Terminal(controller, process))
        assert termios.tcgetattr(follower) == before
        assert "Traceback" not in found.shown
        assert found.shown.count("\x1b[?25l") == found.shown.count("\x1b[?25h"), "the cursor is shown"
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(follower)
        os.close(controller)
