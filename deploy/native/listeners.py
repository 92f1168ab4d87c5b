"""Find the process that listens on a port of this machine, in /proc."""

from pathlib import Path

_LISTENS = "0A"


def holder_of(port: int) -> str | None:
    """Return the process that listens on a port, as `name (pid N)`; None if this user can't see it."""
    sockets = _sockets_on(port)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            if _holds(entry, sockets):
                return f"{(entry / 'comm').read_text().strip()} (pid {entry.name})"
        except OSError:
            continue
    return None


def _holds(process: Path, sockets: set[str]) -> bool:
    return any(str(descriptor.readlink()) in sockets for descriptor in _still_there(process))


def _still_there(process: Path) -> list[Path]:
    return [descriptor for descriptor in (process / "fd").iterdir() if descriptor.is_symlink()]


def _sockets_on(port: int) -> set[str]:
    """Return the listening sockets on a port, by their names in /proc."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENS and int(fields[1].rsplit(":", 1)[1], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found
