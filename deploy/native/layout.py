"""The folders and files of a native stack, and the ports of its parts."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_PORT_BASE = 8080
SERVER_PORT_OFFSET = 20_000
MAX_PORT_BASE = 65_535 - SERVER_PORT_OFFSET - 5
PORTS_BROWSERS_REFUSE = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080}
)
"""Those above 1,023 of the Fetch standard's "bad ports", which a browser does not open."""
# The kernel's limit for the path of a Unix socket is 108 bytes with the final zero.
MAX_SOCKET_PATH = 107


class LayoutError(Exception):
    """Signal that the environment requests an impossible layout; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Ports:
    """All ports of a stack, from one base."""

    base: int

    @property
    def gateway(self) -> int:
        """HTTP of the gateway."""
        return self.base

    @property
    def intake(self) -> int:
        """HTTP of intake."""
        return self.base + 1

    @property
    def mongod(self) -> int:
        """The private MongoDB."""
        return self.base + SERVER_PORT_OFFSET + 2

    @property
    def amqp(self) -> int:
        """The private RabbitMQ."""
        return self.base + SERVER_PORT_OFFSET + 3

    @property
    def epmd(self) -> int:
        """Erlang's port mapper, which RabbitMQ needs."""
        return self.base + SERVER_PORT_OFFSET + 4

    @property
    def erlang(self) -> int:
        """Erlang's distribution, which RabbitMQ's own tools use."""
        return self.base + SERVER_PORT_OFFSET + 5


@dataclass(frozen=True, slots=True)
class Layout:
    """One stack: its state folder, its ports, and which servers are its own."""

    state: Path
    ports: Ports
    own_mongod: bool = True
    own_rabbitmq: bool = True

    @property
    def servers(self) -> Path:
        """Unpacked servers, shared by all stacks of this checkout."""
        return ROOT / ".acked" / "servers"

    @property
    def logs(self) -> Path:
        """The logs, one for each part."""
        return self.state / "log"

    @property
    def run(self) -> Path:
        """Files that are valid only while the stack runs."""
        return self.state / "run"

    def run_of(self, program: str) -> Path:
        """Return the file in which a program reports its process id and port; programs of one part use two files."""
        return self.run / "b" if program.endswith(".b") else self.run

    @property
    def conf(self) -> Path:
        """Generated configuration."""
        return self.state / "conf"

    @property
    def mongo_data(self) -> Path:
        """MongoDB's data."""
        return self.state / "data" / "mongo"

    @property
    def rabbit_home(self) -> Path:
        """RabbitMQ's home: cookie and data."""
        return self.state / "data" / "rabbit"

    @property
    def secrets(self) -> Path:
        """Passwords, readable by the owner alone."""
        return self.state / "secret"

    @property
    def data_mark(self) -> Path:
        """The file that exists when the data of the private MongoDB has the accounts."""
        return self.mongo_data / "acked-accounts"

    @property
    def accounts_mark(self) -> Path:
        """The file that exists while the stack runs with accounts: mongod has its key, and requires passwords."""
        return self.run / "accounts"

    @property
    def socket(self) -> Path:
        """The supervisor's socket: in the state folder, or under a short name in /tmp where that path is too long.

        Every shell must find the same one, so no variable that differs between shells has a say.
        """
        inside = self.run / "supervisor.sock"
        # supervisord makes it as a file with its process id first.
        if len(os.fsencode(inside)) <= MAX_SOCKET_PATH - len(".4194304"):
            return inside
        short = hashlib.sha256(os.fsencode(self.state)).hexdigest()[:12]
        return Path("/tmp") / f"acked-{os.getuid()}-{short}.sock"  # noqa: S108 - made with mode 0700

    @property
    def venv_python(self) -> Path:
        """The Python that runs everything."""
        return ROOT / ".venv" / "bin" / "python"


def has_data_without_accounts(layout: Layout) -> bool:
    """Return whether the data of the private MongoDB has no accounts yet.

    An earlier version without accounts has made it, or a first start was interrupted.
    """
    return (layout.mongo_data / "WiredTiger").exists() and not layout.data_mark.exists()


def layout_from(environ: Mapping[str, str] | None = None) -> Layout:
    """Build the layout that the environment requests."""
    environ = os.environ if environ is None else environ
    text = environ.get("ACKED_PORT_BASE") or str(DEFAULT_PORT_BASE)
    # `plain_numbers` is not there yet when the packages are installed.
    base = int(text) if text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_PORT_BASE)) else 0
    if not 1024 <= base <= MAX_PORT_BASE:
        raise LayoutError(f"ACKED_PORT_BASE={text[:80]}: must be a port from 1024 to {MAX_PORT_BASE}")
    state = environ.get("ACKED_STATE_DIR")
    return Layout(
        state=Path(state).resolve() if state else ROOT / ".acked" / "native",
        ports=Ports(base),
        own_mongod=not environ.get("ACKED_MONGO_URL"),
        own_rabbitmq=not environ.get("ACKED_AMQP_URL"),
    )
