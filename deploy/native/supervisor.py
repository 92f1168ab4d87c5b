"""The supervisor: its configuration, and talking to it. It starts every part and brings back what dies."""

import http.client
import os
import signal
import socket
import subprocess
import xmlrpc.client
from collections.abc import Mapping
from typing import Any

from deploy.native.layout import ROOT, Layout

SERVERS = ("epmd", "rabbitmq", "mongod")
SERVICES = ("intake", "gateway", "worker")
_PRIORITY = {"epmd": 1, "rabbitmq": 2, "mongod": 2, "intake": 10, "gateway": 11, "worker": 12}
_STOP_WAIT_S = {"epmd": 5, "rabbitmq": 30, "mongod": 30, "intake": 20, "gateway": 20, "worker": 40}


def part_names(layout: Layout, scale: Mapping[str, int], *, services: bool = True) -> list[str]:
    """The parts of a stack, in the order of their start."""
    names = []
    if layout.own_rabbitmq:
        names += ["epmd", "rabbitmq"]
    if layout.own_mongod:
        names.append("mongod")
    if services:
        names += [f"{role}-{number}" for role in SERVICES for number in range(1, scale.get(role, 1) + 1)]
    return names


def _quoted(value: object) -> str:
    """A value inside the configuration: a percent sign would start an expansion."""
    return str(value).replace("%", "%%")


def render(layout: Layout, parts: list[str]) -> str:
    """The supervisor's configuration. Services are listed, but started by `up` when the servers answer."""
    lines = [
        "[unix_http_server]",
        f"file={_quoted(layout.socket)}",
        "chmod=0700",
        "[supervisord]",
        f"logfile={_quoted(layout.logs / 'supervisor.log')}",
        "logfile_maxbytes=5MB",
        "logfile_backups=1",
        f"pidfile={_quoted(layout.run / 'supervisor.pid')}",
        f"directory={_quoted(ROOT)}",
        "minfds=1024",
        "identifier=acked",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
    ]
    for part in parts:
        role = part.split("-", 1)[0]
        lines += [
            f"[program:{part}]",
            f'command="{_quoted(layout.venv_python)}" -m deploy.native.launch {part}',
            f"directory={_quoted(ROOT)}",
            f"priority={_PRIORITY[role]}",
            "autostart=false",
            "autorestart=true",
            # A part that dies is brought back for as long as the stack is up.
            "startsecs=1",
            "startretries=1000000",
            f"stopwaitsecs={_STOP_WAIT_S[role]}",
            "stopsignal=TERM",
            "killasgroup=true",
            "redirect_stderr=true",
            f"stdout_logfile={_quoted(layout.logs / (part + '.log'))}",
            "stdout_logfile_maxbytes=20MB",
            "stdout_logfile_backups=2",
        ]
    return "\n".join(lines) + "\n"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(60)
        self.sock.connect(self._path)


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> _UnixConnection:
        connection = _UnixConnection(self._path)
        # Where the base class looks for what it closes.
        self._connection = host, connection
        return connection

    def single_request(self, *arguments: Any, **options: Any) -> Any:
        try:
            return super().single_request(*arguments, **options)
        finally:
            self.close()


class Supervisor:
    """One supervisor process."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._conf = layout.conf / "supervisord.conf"

    @property
    def _rpc(self) -> Any:
        return xmlrpc.client.ServerProxy(
            "http://localhost", transport=_UnixTransport(str(self._layout.socket))
        ).supervisor

    def is_running(self) -> bool:
        """Whether the supervisor answers."""
        try:
            return bool(self._rpc.getState()["statename"] == "RUNNING")
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return False

    def write_configuration(self, parts: list[str]) -> None:
        """Writes what `start` and `reload` read."""
        for folder in (self._layout.conf, self._layout.logs, self._layout.run):
            folder.mkdir(parents=True, exist_ok=True)
        self._conf.write_text(render(self._layout, parts))

    def start(self, environ: Mapping[str, str]) -> None:
        """Starts the supervisor in the background, with no part running yet."""
        self._layout.socket.unlink(missing_ok=True)
        done = subprocess.run(
            [str(self._layout.venv_python), "-m", "supervisor.supervisord", "-c", str(self._conf)],
            env={**environ, "ACKED_STACK": str(self._layout.state)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise OSError(f"the supervisor does not start: {(done.stdout + done.stderr).strip()}")

    def reload(self) -> None:
        """Takes over a changed configuration: stops parts that left it, adds new ones, leaves all others alone."""
        added, changed, removed = self._rpc.reloadConfig()[0]
        for part in [*removed, *changed]:
            self._rpc.stopProcessGroup(part, True)
            self._rpc.removeProcessGroup(part)
        for part in [*added, *changed]:
            self._rpc.addProcessGroup(part)

    def parts(self) -> dict[str, dict[str, Any]]:
        """What the supervisor knows of each part."""
        return {info["name"]: info for info in self._rpc.getAllProcessInfo()}

    def start_part(self, part: str) -> None:
        """Starts one part; one that runs stays as it is."""
        try:
            self._rpc.startProcess(part, False)
        except xmlrpc.client.Fault as fault:
            if "ALREADY_STARTED" not in fault.faultString:
                raise

    def stop_part(self, part: str) -> None:
        """Stops one part and waits for its end."""
        try:
            self._rpc.stopProcess(part, True)
        except xmlrpc.client.Fault as fault:
            if "NOT_RUNNING" not in fault.faultString:
                raise

    def shutdown(self) -> None:
        """Stops the supervisor itself."""
        self._rpc.shutdown()


def stack_processes(layout: Layout) -> dict[int, str]:
    """The processes of this stack by id, with their command lines; found by what their environment says."""
    mark = f"ACKED_STACK={layout.state}".encode()
    found: dict[int, str] = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            with open(f"{entry.path}/environ", "rb") as file:  # noqa: PTH123 - /proc, many times
                if mark not in file.read().split(b"\0"):
                    continue
            with open(f"{entry.path}/cmdline", "rb") as file:  # noqa: PTH123
                found[int(entry.name)] = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
    return found


def end_processes(pids: Mapping[int, str], number: signal.Signals) -> None:
    """Sends a signal to processes that still are."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
