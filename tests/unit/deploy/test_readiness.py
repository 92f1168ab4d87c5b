"""Each process is asked by itself: the port of its service may be answered by another."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy.native.layout import Layout, Ports
from deploy.native.readiness import NOT_STARTED, health_port, listed_workers, readiness, why_degraded
from deploy.operator_token import OperatorToken


class Answers(BaseHTTPRequestHandler):
    status = 200
    body: object = {}

    def do_GET(self) -> None:
        self.send_response(type(self).status)
        self.end_headers()
        self.wfile.write(json.dumps(type(self).body).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path, Ports(8080))
    made.run.mkdir()
    return made


@pytest.fixture
def process(layout: Layout) -> Iterator[type[Answers]]:
    """The process 7, which has told its port as `gateway-2`."""

    class Handler(Answers):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        (layout.run / "gateway-2.json").write_text(json.dumps({"pid": 7, "health_port": server.server_port}))
        yield Handler
        server.shutdown()
        thread.join()


def test_what_an_earlier_process_has_told_is_out_of_date(layout: Layout) -> None:
    (layout.run / "intake-1.json").write_text('{"pid": 7, "health_port": 1234}')
    assert health_port(layout, "intake-1", 7) == 1234
    assert health_port(layout, "intake-1", 8) is None
    assert health_port(layout, "intake-1", 0) is None
    assert health_port(layout, "intake-2", 7) is None


def test_half_a_file_tells_nothing(layout: Layout) -> None:
    (layout.run / "intake-1.json").write_text('{"pid": 7')
    assert health_port(layout, "intake-1", 7) is None
    assert readiness(layout, "intake-1", 7) == NOT_STARTED


@pytest.fixture
def token(layout: Layout) -> OperatorToken:
    """A token of the recipes that is not needed."""
    return OperatorToken(layout.secrets / "operator-token", lambda: pytest.fail("nobody asked for a token"))


def test_a_process_that_does_not_listen_yet_is_not_started(layout: Layout, token: OperatorToken) -> None:
    (layout.run / "intake-1.json").write_text('{"pid": 7, "health_port": 1}')
    assert readiness(layout, "intake-1", 7) == NOT_STARTED
    assert listed_workers(layout, "intake-1", 7, token) == set()


def test_readiness_says_what_is_wrong(layout: Layout, process: type[Answers]) -> None:
    process.body = {"status": "degraded", "parts": {"mongodb": "ok", "rabbitmq": "away"}}
    assert readiness(layout, "gateway-2", 7) == "degraded"
    assert why_degraded(layout, "gateway-2", 7) == "rabbitmq: away"
    assert why_degraded(layout, "gateway-2", 8) == ""
    process.status = 503
    process.body = {"status": "not-ready", "parts": {"mongodb": "away", "kinds": "ok", "process": "stops soon"}}
    assert readiness(layout, "gateway-2", 7) == "not ready: mongodb: away; process: stops soon"


def test_a_problem_of_the_process_is_said(layout: Layout, process: type[Answers]) -> None:
    process.status = 500
    process.body = {"type": "/problems/internal", "status": 500, "detail": "the request met a fault of the server"}
    assert readiness(layout, "gateway-2", 7) == "not ready: the request met a fault of the server"
    assert why_degraded(layout, "gateway-2", 7) == "the request met a fault of the server"


def test_the_workers_that_a_gateway_lists(layout: Layout, process: type[Answers], token: OperatorToken) -> None:
    process.body = {"workers": [{"id": "worker-1"}, {"id": "worker-2"}]}
    assert listed_workers(layout, "gateway-2", 7, token) == {"worker-1", "worker-2"}
    process.status = 503
    assert listed_workers(layout, "gateway-2", 7, token) == set()
