"""Find and end the processes of one stack, through /proc: also orphans of a killed supervisor."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterable

from deploy.native.layout import Layout

_SERVICE = re.compile(r"^acked-(gateway|intake|worker)\b|-m acked_\w+|deploy\.native\.launch (gateway|intake|worker)-")


def is_any(command_router: str) -> bool:
    """Return True for every process."""
    return True


def is_supervisor(command_router: str) -> bool:
    """Return whether a command line is that of the supervisor."""
    # The second one is that of a stack that an older version has started.
    return "-m deploy.native.supervise " in command_router or "-m supervisor.supervisord" in command_router


def is_service(command_router: str) -> bool:
    """Return whether a command line is that of a gateway, an intake or a worker."""
    return _SERVICE.search(command_router) is not None


def stack_processes(layout: Layout) -> dict[int, str]:
    """Return the command lines of this stack's processes by id; their environment identifies them."""
    mark = f"ACKED_STACK={layout.state}".encode()
    return processes_with(lambda variables: mark in variables)


def processes_with(is_meant: Callable[[list[bytes]], bool]) -> dict[int, str]:
    """Return the command lines by id of processes whose initial environment matches, except this one's.

    A variable is `NAME=value` in bytes. Processes of other users are left out.
    """
    found: dict[int, str] = {}
    own = os.getpid()
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal() or int(entry.name) == own:
            continue
        try:
            with open(f"{entry.path}/environ", "rb") as file:  # noqa: PTH123 - /proc, many times
                if not is_meant(file.read().split(b"\0")):
                    continue
            with open(f"{entry.path}/cmdline", "rb") as file:  # noqa: PTH123
                found[int(entry.name)] = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
    return found


def end_processes(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to those processes that still exist."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def end_stack(layout: Layout, *, services_end_within_s: float) -> dict[int, str]:
    """End all processes of a stack in an order that loses nothing; return those that do not end."""

    def end(is_meant: Callable[[str], bool], number: signal.Signals, within_s: float) -> None:
        def meant() -> list[int]:
            return [pid for pid, line in stack_processes(layout).items() if is_meant(line)]

        end_processes(meant(), number)
        wait_until(lambda: not meant(), within_s)

    # A live supervisor would restart the ended processes.
    end(is_supervisor, signal.SIGTERM, services_end_within_s + 10.0)
    end(is_supervisor, signal.SIGKILL, 5.0)
    # While their servers still respond.
    end(is_service, signal.SIGTERM, services_end_within_s)
    end(is_any, signal.SIGTERM, 10.0)
    end(is_any, signal.SIGKILL, 5.0)
    return stack_processes(layout)


def wait_until(holds: Callable[[], bool], within_s: float) -> bool:
    """Wait for a condition; return whether it held in time."""
    end = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
