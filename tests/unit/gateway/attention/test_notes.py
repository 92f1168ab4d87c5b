"""The body of a note on a group."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from acked_common.http.problems import ProblemError
from acked_gateway.attention.notes import MAX_BODY_BYTES, read_note
from acked_gateway.attention.operations import MAX_COMMENT_CHARS, MAX_SNOOZE_S

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def read(body: Any) -> Any:
    return read_note(json.dumps(body).encode(), client="ada", now=NOW)


def pointers(body: Any) -> set[str]:
    with pytest.raises(ProblemError) as error:
        read(body)
    assert error.value.problem.name == "invalid-field"
    return {found["pointer"] for found in error.value.problem.errors}


def test_a_note_changes_what_it_names() -> None:
    assert read({"comment": "why"}) == {"comment": "why"}
    assert read({"comment": None}) == {"comment": None}
    assert read({"taken": True}) == {"taken_by": "ada", "taken_at": NOW}
    assert read({"taken": False}) == {"taken_by": None, "taken_at": None}
    assert read({"snooze_s": 60}) == {"snoozed_until": NOW + timedelta(seconds=60)}
    assert read({"snooze_s": None}) == {"snoozed_until": None}
    assert read({"comment": "x" * MAX_COMMENT_CHARS, "taken": True, "snooze_s": MAX_SNOOZE_S}).keys() == {
        *("comment", "taken_by", "taken_at", "snoozed_until")
    }


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ({"comment": ""}, "/comment"),
        ({"comment": "x" * (MAX_COMMENT_CHARS + 1)}, "/comment"),
        ({"comment": 7}, "/comment"),
        ({"taken": 1}, "/taken"),
        ({"taken": None}, "/taken"),
        ({"snooze_s": 0}, "/snooze_s"),
        ({"snooze_s": -1}, "/snooze_s"),
        ({"snooze_s": True}, "/snooze_s"),
        ({"snooze_s": "60"}, "/snooze_s"),
        ({"snooze_s": MAX_SNOOZE_S + 1}, "/snooze_s"),
        ({"coment": "why"}, "/coment"),
        ({}, ""),
        ([], ""),
    ],
)
def test_what_means_nothing_is_named(body: Any, at: str) -> None:
    assert pointers(body) == {at}


def test_all_that_is_wrong_is_named_at_once() -> None:
    assert pointers({"comment": 1, "taken": 1, "snooze_s": "1", "x": 1}) == {"/comment", "/taken", "/snooze_s", "/x"}


def test_the_longest_comment_fits_in_a_body_however_it_is_escaped() -> None:
    body = json.dumps({"comment": "\U0001f600" * MAX_COMMENT_CHARS}).encode()
    assert len(body) <= MAX_BODY_BYTES
    assert len(read_note(body, client="ada", now=NOW)["comment"] or "") == MAX_COMMENT_CHARS


def test_a_body_that_is_no_json_is_refused() -> None:
    with pytest.raises(ProblemError) as error:
        read_note(b"{", client="ada", now=NOW)
    assert error.value.problem.name == "bad-json"
