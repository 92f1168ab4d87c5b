"""`acked top`: what the screen shows, its keys, what it does while services are away, and where it can not run."""

import builtins
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, Static

from acked_cli.tui.board import span
from acked_cli.tui.screen import INTERRUPTED, Question, TopScreen
from acked_cli.tui.source import BoardSource
from acked_client import AsyncAcked, RetryPolicy
from support.cli import Server, acked, problem

EVIL = "no\x1b]0;title\x07 [bold]customer"
KIND = {
    "kind": "noop",
    "lane": "noop",
    "version": "1",
    "timeout_s": 900.0,
    "max_attempts": 5,
    "backoff_base_s": 1.0,
    "backoff_cap_s": 300.0,
    "bundle": 8,
    "seen_at": None,
    "paused": None,
    "limit": None,
}


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def prepared(server: Server) -> None:
    """Two kinds with work, a worker and a group of errors."""
    server.on("GET", "/kinds", {"kinds": [KIND, KIND | {"kind": "invoice"}]})
    worker = {
        "id": "worker-1",
        "instance": "worker-1@here",
        "kinds": ["noop", "invoice"],
        "slots": 200,
        "running": 7,
        "finished": 1234,
        "version": "0.1.0",
        "since": ago(7300),
        "seen_at": ago(1),
        "draining": False,
        "running_jobs": [],
    }
    server.on("GET", "/workers", {"workers": [worker]})
    group = {
        "group": "1f3a",
        "kind": "invoice",
        "type": "KeyError",
        "message": EVIL,
        "count": 200,
        "count_is_exact": False,
        "first_at": ago(900),
        "last_at": ago(65),
        "per_minute": [],
        "comment": None,
        "taken_by": None,
        "taken_at": None,
        "snoozed_until": None,
    }
    server.on("GET", "/attention", {"groups": [group], "next_page_token": ""})
    counts = {"accepted": 900, "started": 900, "cancelled": 0, "backed_off": 0, "requeued": 0}
    totals = [{"kind": "invoice", "succeeded": 899_800, "failed": 200, **counts}]
    server.on("GET", "/timeseries/kinds", {"window": "5m", "since": ago(300_000), "kinds": totals})
    stand = {
        "kind": "invoice",
        "states": {"queued": 4110, "running": 7},
        "oldest_queued_at": ago(185),
        "attention": 200,
    }
    server.on("GET", "/backlog", {"counted_at": ago(2), "inexact_states": [], "kinds": [stand]})


@pytest.fixture(autouse=True)
def looks_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acked_cli.tui.screen.EVERY_S", 3600.0)


@asynccontextmanager
async def shown(server: Server) -> AsyncIterator[tuple[TopScreen, Pilot[Any]]]:
    """The screen, once it has looked."""
    acked_ = AsyncAcked(server.url, intake=server.url, retry=RetryPolicy(budget_s=0))
    screen = TopScreen(BoardSource(acked_), server.url)
    async with screen.run_test(size=(140, 40)) as pilot:
        await screen.look()
        await pilot.pause()
        yield screen, pilot


def rows(screen: TopScreen, name: str) -> list[list[str]]:
    table = screen.query_one(f"#{name}", DataTable)
    return [[str(cell) for cell in table.get_row_at(row)] for row in range(table.row_count)]


def state(screen: TopScreen) -> str:
    return str(screen.query_one("#state", Static).render())


async def test_screen_shows_kinds_workers_and_groups(server: Server) -> None:
    prepared(server)
    async with shown(server) as (screen, _):
        assert rows(screen, "kinds") == [
            ["invoice", "4,110", "3 m", "7", "3.0", "200", "200", ""],
            ["noop", "0", "", "0", "0.0", "0", "0", ""],
        ]
        assert rows(screen, "workers") == [["worker-1", "7", "200", "1,234", "0.1.0", "2 h", ""]]
        ((count, kind, error, last, message),) = rows(screen, "groups")
        assert (count, kind, error, last) == ("200+", "invoice", "KeyError", "1 m ago")
        assert message == r"no\x1b]0;title\x07 [bold]customer"
        assert "1 workers, 7 of 200 slots" in state(screen) and server.url in state(screen)


async def test_slash_filters_and_escape_shows_all(server: Server) -> None:
    prepared(server)
    async with shown(server) as (screen, pilot):
        await pilot.press("slash", "n", "o", "o", "enter")
        assert [row[0] for row in rows(screen, "kinds")] == ["noop"] and rows(screen, "groups") == []
        assert "only 'noo'" in state(screen)
        assert not screen.query_one("#filter", Input).display
        await screen.look()
        assert [row[0] for row in rows(screen, "kinds")] == ["noop"]
        await pilot.press("escape")
        assert [row[0] for row in rows(screen, "kinds")] == ["invoice", "noop"]


async def test_kind_under_the_cursor_is_paused_after_a_yes(server: Server) -> None:
    prepared(server)
    server.on("POST", "/kinds/noop/pause", KIND)
    async with shown(server) as (screen, pilot):
        await pilot.press("down", "p")
        assert isinstance(screen.screen, Question)
        await screen.look()
        await pilot.press("n")
        assert server.sent("POST", "/kinds/noop/pause") == []
        await pilot.press("p", "y")
        await screen.workers.wait_for_complete()
        assert server.sent("POST", "/kinds/noop/pause")[0].json == {"reason": "acked top"}


async def test_paused_kind_is_resumed(server: Server) -> None:
    prepared(server)
    paused = {"client": "ada", "reason": EVIL, "since": ago(60), "token_id": None}
    server.on("GET", "/kinds", {"kinds": [KIND | {"paused": paused}]})
    server.on("POST", "/kinds/noop/resume", KIND)
    async with shown(server) as (screen, pilot):
        assert rows(screen, "kinds")[0][-1] == r"by ada: no\x1b]0;title\x07 [bold]customer"
        await pilot.press("p", "y")
        await screen.workers.wait_for_complete()
        assert len(server.sent("POST", "/kinds/noop/resume")) == 1


async def test_cursor_stays_on_its_kind(server: Server) -> None:
    prepared(server)
    async with shown(server) as (screen, pilot):
        await pilot.press("down")
        server.on("GET", "/kinds", {"kinds": [KIND, KIND | {"kind": "invoice"}, KIND | {"kind": "audit"}]})
        await screen.look()
        table = screen.query_one("#kinds", DataTable)
        assert str(table.get_row_at(table.cursor_row)[0]) == "noop"


async def test_lost_gateway_leaves_the_last_figures(server: Server) -> None:
    prepared(server)
    async with shown(server) as (screen, _):
        server.on("GET", "/workers", problem("busy", 503))
        await screen.look()
        assert "ago" in state(screen) and "because" in state(screen) and len(rows(screen, "kinds")) == 2
        prepared(server)
        await screen.look()
        assert "slots" in state(screen)


async def test_other_tenant_sees_no_backlog(server: Server) -> None:
    prepared(server)
    server.on("GET", "/backlog", problem("missing-permission", 403))
    async with shown(server) as (screen, _):
        assert rows(screen, "kinds")[0] == ["invoice", "-", "", "-", "3.0", "200", "-", ""]


@pytest.mark.parametrize(("key", "code"), [("q", 0), ("ctrl+c", INTERRUPTED)])
async def test_keys_end_it(server: Server, key: str, code: int) -> None:
    prepared(server)
    async with shown(server) as (screen, pilot):
        await pilot.press(key)
        assert screen.return_value == code


def test_pipe_and_output_are_refused(server: Server) -> None:
    for words, on_terminal in ((["top"], False), (["top", "-o", "json"], True)):
        ended = acked(*words, on_terminal=on_terminal)
        assert (ended.code, ended.out, server.received) == (2, "", [])
        assert "needs a terminal" in ended.err and "acked workers" in ended.err


def test_without_the_extra_it_says_what_to_install(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without_textual(name: str, *more: Any) -> Any:
        if name == "acked_cli.tui.screen":
            raise ModuleNotFoundError("No module named 'textual'", name="textual")
        return imported(name, *more)

    monkeypatch.setattr(builtins, "__import__", without_textual)
    ended = acked("top", on_terminal=True)
    assert ended.code == 2 and "pip install 'acked-cli[tui]'" in ended.err


def test_refusal_is_said_before_the_screen_is_taken(server: Server) -> None:
    server.on("GET", "/kinds", problem("no-token", 401))
    ended = acked("top", on_terminal=True)
    assert (ended.code, ended.out) == (4, "") and "ACKED_TOKEN_FILE" in ended.err


def test_spans_are_read_at_a_glance() -> None:
    assert [span(seconds) for seconds in (None, 0.4, 59.4, 60, 7_300, 200_000)] == [
        "",
        "0 s",
        "59 s",
        "1 m",
        "2 h",
        "2 d",
    ]
