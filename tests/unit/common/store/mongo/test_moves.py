"""How moves become writes: one for all that move alike, and none for two that differ in anything but the job."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from pymongo import UpdateMany, UpdateOne

from acked_common.model import lifecycle
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import Move, Seen, State
from acked_common.store.mongo.id_bytes import in_ids
from acked_common.store.mongo.moves import move_updates

AT = datetime(2026, 1, 2, tzinfo=UTC)
QUEUE = {"grace_s": 15.0, "expires_in_s": 60.0}


def succeeded(result: bytes = b"null", at: datetime = AT) -> lifecycle.Transition:
    return lifecycle.succeed(at=at, result=result, retention_s=60.0)


def failed() -> lifecycle.Transition:
    error = {"type": "E", "message": "m", "retryable": False, "attempt": 1}
    return lifecycle.fail(at=AT, error=error, retention_s=60.0, exhausted=False)


def seen(**fields: Any) -> Seen:
    return replace(Seen(new_id(), State.RUNNING, 2, 1, "nonce"), **fields)


def test_moves_that_are_alike_are_one_write() -> None:
    moves = [Move(seen(), succeeded()) for _ in range(3)]
    (update,) = move_updates(moves)
    assert isinstance(update, UpdateMany)
    assert update._filter["_id"] == in_ids([move.seen.id for move in moves])


def test_moves_that_share_their_transition_are_one_write_with_those_that_equal_it() -> None:
    shared = succeeded()
    (update,) = move_updates([Move(seen(), shared), Move(seen(), succeeded()), Move(seen(), shared)])
    assert isinstance(update, UpdateMany)
    assert len(update._filter["_id"]["$in"]) == 3


def test_a_single_move_is_one_that_the_driver_may_repeat() -> None:
    (update,) = move_updates([Move(seen(), succeeded())])
    assert isinstance(update, UpdateOne)


@pytest.mark.parametrize(
    "other",
    [
        lambda: Move(seen(rev=3), succeeded()),
        lambda: Move(seen(attempt=2), succeeded()),
        lambda: Move(seen(nonce="another"), succeeded()),
        lambda: Move(seen(next_check_at=AT), succeeded()),
        lambda: Move(seen(), succeeded(b"1")),
        lambda: Move(seen(), succeeded(at=AT + timedelta(milliseconds=1))),
        lambda: Move(seen(), lifecycle.end_cancelled(at=AT, retention_s=60.0)),
        lambda: Move(seen(), lifecycle.release(at=AT, **QUEUE)),
        lambda: Move(seen(), failed()),
        lambda: Move(seen(), succeeded(), AT),
    ],
)
def test_what_differs_is_a_write_of_its_own(other: Callable[[], Move]) -> None:
    updates = move_updates([Move(seen(), succeeded()), other(), Move(seen(), succeeded())])
    assert sorted(type(update).__name__ for update in updates) == ["UpdateMany", "UpdateOne"]


def test_releases_for_different_reasons_differ() -> None:
    first = lifecycle.release(at=AT, **QUEUE)
    other = lifecycle.release(at=AT, reason=lifecycle.Reason.NOT_STARTED, **QUEUE)
    assert len(move_updates([Move(seen(), first), Move(seen(), other)])) == 2


def test_failures_are_each_their_own() -> None:
    assert len(move_updates([Move(seen(), failed()), Move(seen(), failed())])) == 2
