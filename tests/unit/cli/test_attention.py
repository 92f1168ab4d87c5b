"""`attention`: groups of errors, and the notes on one."""

from typing import Any

import pytest

from support.cli import Server, acked
from support.client_flows import STATUS

GROUP = "1f3a5b7c9d1e"
PATH = f"/attention/{GROUP}"
NOTES: dict[str, Any] = {
    "group": GROUP,
    "comment": "the vendor is down",
    "taken_by": "ada",
    "taken_at": STATUS["accepted_at"],
    "snoozed_until": None,
}


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (["--comment", "the vendor is down", "--take"], {"comment": "the vendor is down", "taken": True}),
        (["--snooze", "2h"], {"snooze_s": 7200.0}),
        (["--no-comment", "--give-back", "--no-snooze"], {"comment": None, "taken": False, "snooze_s": None}),
    ],
    ids=["noted", "hidden", "removed"],
)
def test_note_sends_what_changes(server: Server, words: list[str], sent: dict[str, Any]) -> None:
    server.on("POST", PATH, NOTES)
    ended = acked("attention", "note", GROUP, *words)
    assert ended.code == 0 and ended.records[0]["taken_by"] == "ada", ended.err
    assert server.sent("POST", PATH)[0].json == sent


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing would change"),
        (["--comment", "x", "--no-comment"], "excludes"),
        (["--snooze", "1h", "--no-snooze"], "excludes"),
        (["--snooze", "long"], "not a duration"),
    ],
    ids=["nothing", "comment", "snooze", "duration"],
)
def test_note_without_a_meaning_is_not_sent(server: Server, words: list[str], message: str) -> None:
    ended = acked("attention", "note", GROUP, *words)
    assert (ended.code, server.received) == (2, []) and message in ended.err


def test_list_has_its_filters(server: Server) -> None:
    server.on("GET", "/attention", {"groups": [], "next_page_token": ""})
    assert acked("attention", "--kind", "flaky", "--snoozed").code == 0
    assert {"kind=flaky", "snoozed=true"} <= set(server.received[0].path.partition("?")[2].split("&"))
