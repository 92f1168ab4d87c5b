"""What a handler is told and may say, and the errors that it raises."""

import asyncio
import math
import time
from typing import Any

import msgspec
import pytest
import structlog

from acked import Permanent, RetryLater
from acked.resources import LoopResource, close_resources
from acked.testing import RecordingAttempt


def test_fields_are_those_of_the_attempt_and_can_not_be_set() -> None:
    attempt = RecordingAttempt(id="j", kind="k", run=2, attempt=5, failures=3, batch="b", tags=("t",))
    ctx = attempt.context
    assert (ctx.id, ctx.kind, ctx.run, ctx.attempt, ctx.failures) == ("j", "k", 2, 5, 3)
    assert (ctx.batch, ctx.tags, ctx.idempotency_key) == ("b", ("t",), "j:2")
    for name in ("id", "attempt", "remaining_s", "invented"):
        with pytest.raises(AttributeError):
            setattr(ctx, name, "x")
    assert repr(ctx) == "<Context of k j, attempt 5>"


def test_the_idempotency_key_is_one_per_run() -> None:
    keys = {RecordingAttempt(run=run, attempt=attempt).context.idempotency_key for run in (1, 2) for attempt in (1, 2)}
    assert len(keys) == 2


def test_remaining_time_ends_at_zero() -> None:
    assert 4.0 < RecordingAttempt(deadline=time.monotonic() + 5).context.remaining_s <= 5.0
    assert RecordingAttempt(deadline=time.monotonic() - 5).context.remaining_s == 0.0


def test_reading_cancelled_is_noticed_only_when_it_is_true() -> None:
    attempt = RecordingAttempt()
    ctx = attempt.context
    assert (ctx.cancelled, attempt.stopping_was_seen) == (False, False)
    attempt.asked_to_stop = True
    assert (ctx.cancelled, attempt.stopping_was_seen) == (True, True)


def test_progress_is_a_copy() -> None:
    attempt = RecordingAttempt()
    value = {"pages": [1]}
    attempt.context.progress(value, "one")
    value["pages"].append(2)
    assert attempt.progress == [{"value": {"pages": [1]}, "message": "one"}]


@pytest.mark.parametrize(
    ("value", "message", "error"),
    [
        (object(), None, TypeError),
        ("\ud800", None, TypeError),
        (1, 2, TypeError),
        ("x" * 17_000, None, ValueError),
        (2**63, None, TypeError),
        ({1: 1, "1": 2}, None, TypeError),
        ({"a\0": 1}, None, TypeError),
        (float("nan"), None, TypeError),
        (msgspec.Raw(b"{"), None, TypeError),
    ],
)
def test_progress_that_can_not_be_kept(value: Any, message: Any, error: type[Exception]) -> None:
    attempt = RecordingAttempt()
    with pytest.raises(error):
        attempt.context.progress(value, message)
    assert attempt.progress == []


def test_the_log_names_the_job() -> None:
    with structlog.testing.capture_logs() as logs:
        RecordingAttempt(id="j", kind="k", attempt=2).context.log.info("hello", more=1)
    assert logs == [{"event": "hello", "log_level": "info", "job_id": "j", "kind": "k", "attempt": 2, "more": 1}]


def test_permanent_keeps_its_message_and_type() -> None:
    error = Permanent("declined", type="card-declined")
    assert (str(error), error.message, error.type) == ("declined", "declined", "card-declined")


def test_retry_later_checks_its_delay() -> None:
    assert (RetryLater(3).after_s, str(RetryLater(3))) == (3.0, "retry in 3 s")
    assert (RetryLater(-3, "now").after_s, RetryLater(-3, "now").message) == (0.0, "now")
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="finite"):
            RetryLater(bad)
    for wrong in ("3", None, True):
        with pytest.raises(TypeError, match="number of seconds"):
            RetryLater(wrong)  # type: ignore[arg-type]


async def test_a_resource_is_one_per_loop_and_closed_with_it() -> None:
    closed: list[object] = []

    async def close(resource: object) -> None:
        closed.append(resource)
        raise OSError("was gone already")

    resource = LoopResource(object, close)
    mine = resource.get()
    assert resource.get() is mine

    async def elsewhere() -> object:
        return resource.get()

    other = await asyncio.to_thread(lambda: asyncio.run(elsewhere()))
    assert other is not mine
    await close_resources()
    assert closed == [mine]
    assert resource.get() is not mine
    await close_resources()


def test_retry_later_beyond_a_year_is_refused_not_cut() -> None:
    assert RetryLater(3 * 86_400).after_s == 259_200.0
    with pytest.raises(ValueError, match="at most 31,536,000 seconds"):
        RetryLater(31_536_001)
