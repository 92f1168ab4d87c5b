"""The first ten minutes of a new user, with nothing but README.md: its commands and its code, on one stack.

Each test is a step of the story, and they follow each other as there. More of a step is tested where it is built:

| step | more tests of it |
|---|---|
| `./just up` from nothing | test_down_up.py, test_compose.py |
| submit, from the command line and from Python | test_cli.py, test_client.py |
| a 422 before it is accepted | test_typed_payloads.py |
| write a handler | test_workers.py `test_a_new_kind_is_known_as_soon_as_a_worker_has_it` |
| follow it live | test_client_watch.py, test_cli.py `test_interrupted_watch_leaves_a_sane_terminal` |
| kill the gateway while waiting | test_client_watch.py `test_result_is_waited_for_over_a_restart` |
| send 10,000 lines | test_ten_thousand_lines.py, test_many_requests.py |
| schedule one | test_schedules.py |
| a signed callback | test_callbacks.py |
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from acked_client import Acked
from acked_common.model.lifecycle import State
from support.nonce import nonce
from support.stacks import StartStack, TestStack, eventually

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PROGRAM = Path(sys.executable).with_name("acked")
LINES = 10_000
WITHIN_S = 60.0
BATCH = "nightly"
"""The name that README.md uses."""


@pytest.fixture(scope="module")
def handlers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("handlers")


@pytest.fixture(scope="module")
def stack(handlers: Path, start_stack: StartStack) -> TestStack:
    """A stack of its own: its gateway is killed, and its handlers change."""
    return start_stack({"ACKED_HANDLERS_DIR": str(handlers), "ACKED_HTTP_CALL_ALLOW": "127.0.0.1"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the user works."""
    made: Path = tmp_path_factory.mktemp("checkout")
    (made / "docs").symlink_to(ROOT / "docs")
    return made


@pytest.fixture
def environ(stack: TestStack) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ACKED_")}
    path = f"{PROGRAM.parent}{os.pathsep}{kept.get('PATH', '')}"
    return kept | {"ACKED_GATEWAY": f"http://localhost:{stack.gateway_port}", "PATH": path}


@pytest.fixture
def acked(stack: TestStack) -> Iterator[Acked]:
    with Acked(f"http://localhost:{stack.gateway_port}") as client:
        yield client


def command(begin: str) -> str:
    """The command of README.md that begins so."""
    found = re.findall(rf"^(?:    |\$ )({re.escape(begin)}.*)$", README, re.MULTILINE)
    assert len(found) == 1, f"README.md has {len(found)} commands that begin with {begin!r}"
    return str(found[0]).partition("  #")[0].strip()


def code(name: str) -> str:
    """The block of Python of README.md in which the name occurs."""
    (found,) = (block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if name in block)
    return str(found)


def typed(environ: dict[str, str], folder: Path, text: str, *, fails: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a command as a person types it."""
    ended = subprocess.run(
        ["/bin/sh", "-c", text], cwd=folder, env=environ, capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    assert (ended.returncode != 0) == fails, (text, ended.stdout[-2000:], ended.stderr[-2000:])
    return ended


def records(ended: subprocess.CompletedProcess[str]) -> list[Any]:
    return [json.loads(line) for line in ended.stdout.splitlines()]


class Following:
    """The lines that a program writes until it is ended."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.lines: list[Any] = []
        self._process = process
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self.lines.extend(json.loads(line) for line in self._process.stdout)

    def wait_for(self, **members: Any) -> Any:
        """Return the first line with these members."""
        return eventually(
            lambda: next((line for line in list(self.lines) if members.items() <= line.items()), None),
            within_s=WITHIN_S,
            what=f"a line with {members}",
        )


@contextmanager
def following(environ: dict[str, str], folder: Path, text: str) -> Iterator[Following]:
    """Run a command that does not end by itself."""
    with subprocess.Popen(text.split(), cwd=folder, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Following(process)
        finally:
            process.terminate()


def kill_gateway(stack: TestStack) -> None:
    """Kill it, and wait until the supervisor has started another one."""
    killed = stack.stack.parts.kill("gateway-1")
    assert killed
    eventually(
        lambda: stack.stack.parts.pid("gateway-1") not in (0, killed), within_s=WITHIN_S, what="a gateway runs again"
    )


def test_one_job_from_the_command_line(environ: dict[str, str], folder: Path) -> None:
    assert "next: .venv/bin/acked submit demo --wait" in README
    (job,) = records(typed(environ, folder, "acked submit demo --wait"))
    assert job["state"] == State.SUCCEEDED


def test_one_job_from_python(stack: TestStack, environ: dict[str, str], folder: Path) -> None:
    program = code("from acked_client").replace("http://localhost:8080", environ["ACKED_GATEWAY"])
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=WITHIN_S, check=True
    )
    assert ended.stdout == "{'slept_s': 1.0}\n"


def test_a_handler_is_written_and_checks_its_payload(
    stack: TestStack, handlers: Path, environ: dict[str, str], folder: Path
) -> None:
    assert command("cp handlers/hello.py.example") == "cp handlers/hello.py.example handlers/hello.py"
    assert code("async def hello") == (ROOT / "handlers" / "hello.py.example").read_text()
    shutil.copy(ROOT / "handlers" / "hello.py.example", handlers / "hello.py")
    stack.stack.restart(["worker"])
    refused = typed(environ, folder, command("acked submit hello"), fails=True)
    assert (refused.returncode, refused.stdout) == (4, "")
    fault = refused.stderr.splitlines()[:2]
    assert "/payload/name" in fault[1] and "\n".join(fault) in README, refused.stderr
    name = nonce()
    text = command('curl -H \'Content-Type: application/json\' -d \'{"kind": "hello"').replace("Ada", name)
    job = json.loads(typed(environ, folder, text.replace("8081", str(stack.intake_port))).stdout)
    result = stack.finished(job["id"])["result"]
    assert result == {"greeting": f"Hello, {name}!", "attempt": 1}


def test_jobs_are_followed_while_the_gateway_is_killed(
    stack: TestStack, environ: dict[str, str], folder: Path, acked: Acked
) -> None:
    with following(environ, folder, command("acked watch")) as watch:
        first = acked.submit("hello", {"name": nonce()}, batch=BATCH)
        watch.wait_for(id=first.id, state=State.SUCCEEDED)
        kill_gateway(stack)
        second = acked.submit("hello", {"name": nonce()}, batch=BATCH)
        watch.wait_for(id=second.id, state=State.SUCCEEDED)
    for job in (first, second):
        revs = [line["rev"] for line in watch.lines if line["id"] == job.id]
        assert revs == sorted(set(revs)), "no transition is shown twice"


def test_a_result_is_waited_for_while_the_gateway_is_killed(stack: TestStack, acked: Acked) -> None:
    job = acked.submit("demo", {"seconds": 3})
    killer = threading.Thread(target=kill_gateway, args=(stack,))
    killer.start()
    assert job.result(timeout=WITHIN_S) == {"slept_s": 3.0}
    killer.join()


def test_ten_thousand_lines_are_as_many_jobs(stack: TestStack, environ: dict[str, str], folder: Path) -> None:
    typed(environ, folder, command("seq 10000"))
    outcomes = records(typed(environ, folder, command("acked submit-many")))
    assert [one["line"] for one in outcomes] == list(range(1, LINES + 1))
    ids = {one["id"] for one in outcomes}
    assert len(ids) == LINES and not any(one["replayed"] for one in outcomes)
    again = records(typed(environ, folder, command("acked submit-many")))
    assert {one["id"] for one in again} == ids and all(one["replayed"] for one in again)
    (batch,) = records(typed(environ, folder, command("acked batch nightly")))
    assert batch["states"].keys() == {State.SUCCEEDED} and batch["total"] >= LINES


def test_a_schedule_fires(environ: dict[str, str], folder: Path, stack: TestStack) -> None:
    (made,) = records(typed(environ, folder, command("acked schedules put").replace("--every 1m", "--every 1s")))
    assert (made["name"], made["every_s"]) == ("nightly", 1)

    def started() -> Any:
        found = records(typed(environ, folder, command("acked schedules firings")))
        return next((one for one in found if one["outcome"] == "started"), None)

    firing = eventually(started, within_s=WITHIN_S, what="it fires")
    assert stack.finished(firing["job"])["state"] == State.SUCCEEDED
    typed(environ, folder, command("acked schedules delete"))


def test_a_signed_callback_is_verified(environ: dict[str, str], folder: Path, stack: TestStack) -> None:
    typed(environ, folder, command("acked callback-secrets make"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    receiver = f"{sys.executable} {command('python docs/examples/callback_receiver.py').partition(' ')[2]} {port}"
    with following(environ, folder, receiver) as received:
        text = command("acked submit demo --callback").replace("9000", str(port))
        (accepted,) = records(typed(environ, folder, text))
        event = received.wait_for(type="job.succeeded")
        assert (event["data"]["id"], event["data"]["kind"]) == (accepted["id"], "demo")
        forged = urllib.request.Request(f"http://127.0.0.1:{port}", json.dumps(event).encode())
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(forged, timeout=WITHIN_S)  # noqa: S310 - of this machine
        assert refused.value.code == 400
        refused.value.close()
    verification = code("from standardwebhooks").strip().splitlines()
    source = (ROOT / "docs" / "examples" / "callback_receiver.py").read_text()
    assert len(verification) == 3 and verification[0] in source and ".verify(body, headers)" in source
    (delivery,) = records(typed(environ, folder, f"acked callbacks {accepted['id']}"))
    assert delivery["state"] == State.SUCCEEDED
