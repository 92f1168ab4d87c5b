"""The programs of docs/examples, as they ship, against a running stack."""

import http.server
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from acked_client import Acked, State
from deploy.native.stack import free_port_base
from support.browser import Browser
from support.stacks import StartStack, TestStack, eventually, refuses

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
WITHIN_S = 60.0
BUSY = 2
"""How often the API refuses a charge before it takes it."""


class Payments(http.server.ThreadingHTTPServer):
    """The API that `slow_api.py` calls: it refuses twice with a 429, then takes each charge once."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Charges)
        self.keys: list[str] = []


class _Charges(http.server.BaseHTTPRequestHandler):
    server: Payments

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.keys.append(self.headers["Idempotency-Key"])
        is_busy = len(self.server.keys) <= BUSY
        body = b"{}" if is_busy else b'{"charged": true}'
        self.send_response(429 if is_busy else 200)
        if is_busy:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def payments() -> Iterator[Payments]:
    with Payments() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def site_port() -> int:
    """Of the programs that serve pages, one after the other."""
    return free_port_base()


@pytest.fixture(scope="module")
def stack(start_stack: StartStack, payments: Payments, site_port: int) -> TestStack:
    told = {
        "ACKED_HANDLERS_DIR": str(EXAMPLES / "handlers"),
        "ACKED_ALLOWED_ORIGINS": f"http://localhost:{site_port}",
        "PAYMENTS_URL": f"http://127.0.0.1:{payments.server_port}",
    }
    return start_stack(told)


def told(stack: TestStack) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ACKED_")}
    return {**inherited, "GATEWAY": f"http://localhost:{stack.gateway_port}"}


@contextmanager
def site(stack: TestStack, port: int, command: Sequence[str]) -> Iterator[str]:
    """A program that serves on the port; yields its URL."""
    process = subprocess.Popen([sys.executable, *command], cwd=EXAMPLES, env=told(stack))
    try:
        eventually(lambda: not refuses(port), within_s=WITHIN_S, what="it listens")
        yield f"http://localhost:{port}"
    finally:
        process.terminate()
        process.wait(WITHIN_S)


def call(url: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Send a GET, or a POST if there is a body; return status and JSON."""
    method = "GET" if body is None else "POST"
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = requests.request(method, url, json=body, headers=sent, timeout=WITHIN_S)
    return answer.status_code, answer.json()


def submits_reports(url: str) -> None:
    """Submits one report twice with the same key, and waits for its result."""
    key = f"report-{uuid4().hex}"
    status, accepted = call(f"{url}/reports", {"rows": 3}, Idempotency_Key=key)
    assert status == 202, accepted
    assert call(f"{url}/reports", {"rows": 3}, Idempotency_Key=key) == (202, accepted)
    done = {"state": "succeeded", "result": {"rows": 3}}
    eventually(
        lambda: call(f"{url}/reports/{accepted['id']}") == (200, done), within_s=WITHIN_S, what="the report is made"
    )
    assert call(f"{url}/reports/01a20d05-adf2-7315-9ee6-8162dae54aa3")[0] == 404


def test_fastapi_submits_and_its_page_shows_progress(stack: TestStack, site_port: int, browser: Browser) -> None:
    with site(stack, site_port, ["-m", "uvicorn", "fastapi_app:app", "--port", str(site_port)]) as url:
        submits_reports(url)
        assert call(f"{url}/reports", {"rows": 0})[0] == 422
        browser.open(f"{url}/")
        browser.click("start")
        bar = "return document.getElementById('bar').value"
        eventually(lambda: 0.0 < browser.run(bar) < 1.0, within_s=WITHIN_S, what="the bar is under way")
        eventually(lambda: browser.run(bar) == 1.0, within_s=WITHIN_S, what="the bar is full")
        assert browser.run("return document.getElementById('state').value") == "succeeded"
        browser.complaints()


def test_django_submits(stack: TestStack, site_port: int) -> None:
    command = ["django_app.py", "runserver", str(site_port), "--noreload"]
    with site(stack, site_port, command) as url:
        submits_reports(url)
        assert call(f"{url}/reports", {"lines": 1})[0] == 400


def nightly(stack: TestStack, file: Path, night: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / "nightly_batch.py"), str(file), night]
    return subprocess.run(command, env=told(stack), capture_output=True, text=True, timeout=WITHIN_S * 2, check=False)


def test_nightly_batch_runs_once_however_often_it_is_started(stack: TestStack, tmp_path: Path) -> None:
    file, night = tmp_path / "orders.csv", uuid4().hex
    file.write_text("rows\n" + "".join(f"{1 + number % 3}\n" for number in range(20)))
    for _ in range(2):
        ran = nightly(stack, file, night)
        assert (ran.returncode, ran.stdout) == (0, f"nightly-{night}: {{'succeeded': 20}}, 0 refused\n"), ran.stderr
        assert stack.batch(f"nightly-{night}") == {State.SUCCEEDED: 20}


def test_nightly_batch_reports_a_failed_line(stack: TestStack, tmp_path: Path) -> None:
    file, night = tmp_path / "orders.csv", uuid4().hex
    file.write_text("rows\n1\nmany\n")
    ran = nightly(stack, file, night)
    assert ran.returncode == 1
    assert "many" in ran.stderr


def test_slow_api_is_asked_again_when_it_says_so(stack: TestStack, payments: Payments) -> None:
    with Acked(f"http://localhost:{stack.gateway_port}") as acked:
        job = acked.submit("example.charge", {"order": uuid4().hex, "amount": 100})
        assert job.result(timeout=WITHIN_S) == {"charged": True}
        status = job.status()
    assert status.attempt == len(payments.keys) == BUSY + 1
    assert len(set(payments.keys)) == 1
    started = [entry.at for entry in status.history if entry.state == "running"]
    assert all((later - earlier).total_seconds() >= 1.0 for earlier, later in itertools.pairwise(started))
