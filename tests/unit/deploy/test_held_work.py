"""What `./just status` shows of pauses and bulk actions, from what a gateway responds."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.docker.containers import Containers
from deploy.held_work import MOST_PAGES, REASON_CHARS, held_work
from deploy.operator_token import OperatorToken

SINCE = "2026-01-02T03:04:05.678Z"
PAUSE = {"client": "ops", "token_id": "tokenid23456", "reason": "the provider is down", "since": SINCE}
ACTION: dict[str, Any] = {
    "id": "one",
    "action": "retry",
    "by": {"client": "ops", "token_id": None},
    "asked_at": SINCE,
    "matched": 300,
    "matched_is_exact": True,
    "done": 120,
    "refused": {},
    "ended_at": None,
}
NO_KINDS: dict[str, Any] = {"kinds": []}


def shown(kinds: list[Any], *pages: list[Any]) -> list[str]:
    """The lines for a gateway that knows these kinds and lists these pages of actions."""

    def ask(path: str) -> Any:
        if path == "/kinds":
            return {"kinds": kinds}
        number = int(path.partition("&page_token=")[2] or 0)
        assert path.startswith("/bulk-actions?page_size=100")
        more = str(number + 1) if number + 1 < len(pages) else ""
        return {"bulk_actions": pages[number], "next_page_token": more}

    return held_work(ask)


def test_what_is_paused_and_under_way_is_shown() -> None:
    kinds = [{"kind": "mail", "paused": PAUSE}, {"kind": "noop", "paused": None}]
    kinds.append({"kind": "sms", "paused": {**PAUSE, "reason": None}})
    more = {"matched_is_exact": False, "refused": {"moved": 2, "erased": 1}, "abort_requested_at": SINCE}
    actions = [ACTION, {**ACTION, "ended_at": SINCE}, {**ACTION, "id": "two", **more, "reason": "fixed"}]
    assert shown(kinds, actions) == [
        f"paused: kind mail by ops since {SINCE}: the provider is down",
        f"paused: kind sms by ops since {SINCE}",
        f"bulk action: retry one, 120 of 300 done, by ops since {SINCE}",
        f"bulk action: retry two, 120 of at least 300 done, 3 refused, by ops since {SINCE}, is being aborted: fixed",
    ]


def test_what_is_limited_is_shown_with_its_numbers() -> None:
    limit = {**PAUSE, "running": 20, "per_tenant": 5, "reason": "twenty calls"}
    kinds = [
        {"kind": "mail", "paused": None, "limit": limit},
        {"kind": "noop", "paused": None, "limit": None},
        {"kind": "sms", "paused": PAUSE, "limit": {**limit, "running": None, "reason": None}},
    ]
    assert shown(kinds, []) == [
        f"paused: kind sms by ops since {SINCE}: the provider is down",
        f"limited: kind mail to 20 in all, 5 of each tenant at once by ops since {SINCE}: twenty calls",
        f"limited: kind sms to 5 of each tenant at once by ops since {SINCE}",
    ]


def test_what_a_terminal_would_obey_is_left_out() -> None:
    (line,) = shown([{"kind": "mail", "paused": {**PAUSE, "reason": "\x1b[2J\n" + "x" * REASON_CHARS}}], [])
    assert line.endswith(": ?[2J?" + "x" * (REASON_CHARS - 5) + "…")
    assert line.isprintable()


def test_an_action_behind_many_ended_ones_is_shown() -> None:
    ended = [{**ACTION, "ended_at": SINCE}] * 100
    assert len(shown([], ended, ended, [ACTION])) == 1
    assert shown([], *[ended] * MOST_PAGES, [ACTION]) == [], "the list is read up to a bound"


def test_without_a_gateway_nothing_is_shown() -> None:
    assert held_work(lambda path: None) == []


class _Gateway(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(type(self).status)
        self.end_headers()
        self.wfile.write(json.dumps({"path": self.path, "host": self.headers["Host"]}).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[tuple[type[_Gateway], int]]:
    class Handler(_Gateway):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Handler, server.server_port
        server.shutdown()
        thread.join()


def test_containers_ask_their_gateway(gateway: tuple[type[_Gateway], int], tmp_path: Any) -> None:
    handler, port = gateway
    project = SimpleNamespace(reached_at="127.0.0.1", ports=SimpleNamespace(gateway=port), state=tmp_path)
    containers = Containers(project)  # type: ignore[arg-type]
    assert isinstance(containers.token, OperatorToken)
    assert containers.told_by_gateway("/kinds") == {"path": "/kinds", "host": "localhost"}
    handler.status = 503
    assert containers.told_by_gateway("/kinds") is None
