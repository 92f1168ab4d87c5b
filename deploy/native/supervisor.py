"""Configure and control the supervisor, which starts every part and restarts those that die."""

import http.client
import socket
import subprocess
import xmlrpc.client
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any
from xml.parsers.expat import ExpatError

from deploy.native import rolling
from deploy.native.layout import ROOT, Layout

SERVERS = ("epmd", "rabbitmq", "mongod")
SERVICES = ("intake", "gateway", "worker")
SUPERVISOR_LOG = "supervisor.log"
OUTPUT = ".out"
"""The suffix after a worker's name: the log of its handlers' output."""
ANSWERS_WITHIN_S = 5.0
# Beside stopwaitsecs: a call to stop a part returns when it has ended.
STOP_MARGIN_S = 20.0
_PRIORITY = {"epmd": 1, "rabbitmq": 2, "mongod": 2, "intake": 10, "gateway": 11, "worker": 12}
_STOP_WAIT_S = {"epmd": 5, "rabbitmq": 30, "mongod": 30, "intake": 20, "gateway": 20}


def part_names(layout: Layout, scale: Mapping[str, int], *, services: bool = True) -> list[str]:
    """Return the parts of a stack, in the order of their start."""
    names = []
    if layout.own_rabbitmq:
        names += ["epmd", "rabbitmq"]
    if layout.own_mongod:
        names.append("mongod")
    if services:
        names += [f"{role}-{number}" for role in SERVICES for number in range(1, scale.get(role, 1) + 1)]
    return names


def _quoted(value: object) -> str:
    """Quote a value for the configuration, where a percent sign starts an expansion."""
    return str(value).replace("%", "%%")


def _log_lines(layout: Layout, part: str, role: str) -> list[str]:
    """Return the configuration of a part's logs.

    A worker writes its own lines to standard error. The output of its handlers goes to standard output, in other files.
    """
    log, output = layout.logs / f"{part}.log", layout.logs / f"{part}{OUTPUT}.log"
    own = "stderr" if role == "worker" else "stdout"
    lines = [f"{own}_logfile={_quoted(log)}", f"{own}_logfile_maxbytes=20MB", f"{own}_logfile_backups=2"]
    if role != "worker":
        return ["redirect_stderr=true", *lines]
    return [*lines, f"stdout_logfile={_quoted(output)}", "stdout_logfile_maxbytes=20MB", "stdout_logfile_backups=1"]


def render(layout: Layout, programs: Sequence[str], *, worker_stops_within_s: int) -> str:
    """Render the supervisor's configuration. It lists the services; `up` starts them when the servers respond."""
    stop_wait_s = {**_STOP_WAIT_S, "worker": worker_stops_within_s}
    lines = [
        "[unix_http_server]",
        f"file={_quoted(layout.socket)}",
        "chmod=0700",
        "[supervisord]",
        f"logfile={_quoted(layout.logs / SUPERVISOR_LOG)}",
        "logfile_maxbytes=5MB",
        "logfile_backups=1",
        f"pidfile={_quoted(layout.run / 'supervisor.pid')}",
        f"directory={_quoted(ROOT)}",
        "minfds=1024",
        "identifier=acked",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
    ]
    for program in programs:
        part = rolling.part_of(program)
        role = part.split("-", 1)[0]
        lines += [
            f"[program:{program}]",
            f'command="{_quoted(layout.venv_python)}" -m deploy.native.launch {program}',
            f"directory={_quoted(ROOT)}",
            f"priority={_PRIORITY[role]}",
            "autostart=false",
            "autorestart=true",
            # A part that dies is brought back for as long as the stack is up.
            "startsecs=1",
            "startretries=1000000",
            f"stopwaitsecs={stop_wait_s[role]}",
            "stopsignal=TERM",
            "killasgroup=true",
            *_log_lines(layout, part, role),
        ]
    return "\n".join(lines) + "\n"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__()
        self._path, self._timeout_s = path, timeout_s

    def make_connection(self, host: Any) -> _UnixConnection:
        connection = _UnixConnection(self._path, self._timeout_s)
        # Where the base class looks for what it closes.
        self._connection = host, connection
        return connection

    def single_request(self, *arguments: Any, **options: Any) -> Any:
        try:
            return super().single_request(*arguments, **options)
        finally:
            self.close()


class SupervisorError(Exception):
    """Signal that the supervisor did not start or refused a call; the message says why."""


@contextmanager
def _told() -> Iterator[None]:
    """Turn each failure of a call into a `SupervisorError`."""
    try:
        yield
    except xmlrpc.client.Fault as fault:
        raise SupervisorError(f"it refuses: {fault.faultString}") from fault
    except (OSError, http.client.HTTPException, xmlrpc.client.Error, ExpatError) as error:
        raise SupervisorError(f"it does not respond ({type(error).__name__}: {error})") from error


class Supervisor:
    """One supervisor process. All but `is_running` raise `SupervisorError`."""

    def __init__(self, layout: Layout, *, worker_stops_within_s: int) -> None:
        self._layout = layout
        self._worker_stops_within_s = worker_stops_within_s
        self._conf = layout.conf / "supervisord.conf"

    def _calls(self, timeout_s: float) -> Any:
        transport = _UnixTransport(str(self._layout.socket), timeout_s)
        return xmlrpc.client.ServerProxy("http://localhost", transport=transport).supervisor

    @property
    def _rpc(self) -> Any:
        return self._calls(max(self._worker_stops_within_s, *_STOP_WAIT_S.values()) + STOP_MARGIN_S)

    def is_running(self) -> bool:
        """Return whether the supervisor responds."""
        try:
            with _told():
                return bool(self._calls(ANSWERS_WITHIN_S).getState()["statename"] == "RUNNING")
        except SupervisorError:
            return False

    def write_configuration(self, programs: Sequence[str]) -> None:
        """Write the configuration for `start` and `reload`."""
        for folder in (self._layout.conf, self._layout.logs, self._layout.run):
            folder.mkdir(parents=True, exist_ok=True)
        self._conf.write_text(render(self._layout, programs, worker_stops_within_s=self._worker_stops_within_s))

    def start(self, environ: Mapping[str, str]) -> None:
        """Start the supervisor in the background, with no part running yet."""
        self._layout.socket.unlink(missing_ok=True)
        done = subprocess.run(
            [str(self._layout.venv_python), "-m", "deploy.native.supervise", "-c", str(self._conf)],
            env={**environ, "ACKED_STACK": str(self._layout.state)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SupervisorError(f"it does not start: {(done.stdout + done.stderr).strip()}")

    def reload(self) -> None:
        """Apply a changed configuration: stop parts that left it, add new ones, leave all others alone."""
        with _told():
            added, changed, removed = self._rpc.reloadConfig()[0]
        for _ in self.removed([*removed, *changed]):
            pass
        for program in [*added, *changed]:
            self.add_program(program)

    def read_configuration(self) -> None:
        """Read a changed configuration; a part follows it when it is replaced, all others continue."""
        with _told():
            self._rpc.reloadConfig()

    def add_program(self, program: str) -> None:
        """Add a program of the configuration."""
        with _told():
            self._rpc.addProcessGroup(program)

    def start_program(self, program: str) -> None:
        """Start one program; a running one stays as it is."""
        with _told(), _unless("ALREADY_STARTED"):
            self._rpc.startProcess(program, False)

    def _remove_program(self, program: str) -> None:
        """Stop a program, wait for its end, and remove it."""
        self._stop_program(program)
        with _told():
            self._rpc.removeProcessGroup(program)

    def removed(self, programs: Sequence[str]) -> Iterator[str]:
        """Stop programs all at once and remove them; yield each when it has ended."""
        with ThreadPoolExecutor(max_workers=max(1, len(programs))) as pool:
            ending = {pool.submit(self._remove_program, program): program for program in programs}
            for done in as_completed(ending):
                done.result()
                yield ending[done]

    def _stop_program(self, program: str) -> None:
        with _told(), _unless("NOT_RUNNING"):
            self._rpc.stopProcess(program, True)

    def programs(self) -> dict[str, dict[str, Any]]:
        """Return the supervisor's record of each program."""
        with _told():
            return {info["name"]: info for info in self._rpc.getAllProcessInfo()}

    def stop_programs(self, programs: Sequence[str]) -> None:
        """Stop programs all at once and wait for their ends: a worker may take its whole drain time."""
        with ThreadPoolExecutor(max_workers=max(1, len(programs))) as pool:
            list(pool.map(self._stop_program, programs))

    def shutdown(self) -> None:
        """Stop the supervisor itself."""
        with _told():
            self._rpc.shutdown()


@contextmanager
def _unless(expected: str) -> Iterator[None]:
    """Ignore the fault that reports that the wanted state holds already."""
    try:
        yield
    except xmlrpc.client.Fault as fault:
        if expected not in fault.faultString:
            raise
