"""Each ending of an isolated process reaches its worker as it was."""

from datetime import UTC, datetime

import pytest

from acked_common.model.lifecycle_waits import Waits
from acked_common.outcomes.outcome import (
    Crashed,
    Ending,
    Interrupted,
    InterruptReason,
    Parked,
    Succeeded,
    failed,
    timed_out,
)
from acked_worker.isolate.frames import LENGTH_BYTES, decode_to_worker, ended, framed

UNTIL = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


@pytest.mark.parametrize(
    "ending",
    [
        Succeeded(b'{"a": 1}'),
        failed("T", "m", retryable=False),
        timed_out(1.5, "where"),
        Interrupted(InterruptReason.DRAINED),
        Parked(Waits("first", "race", UNTIL, ("a", "b")), in_seq=7),
        Parked(Waits("wait", "paid", None, ("paid",)), in_seq=0),
    ],
)
def test_an_ending_comes_back_as_it_was(ending: Ending) -> None:
    frame = framed(ended(ending))
    found = decode_to_worker(frame[LENGTH_BYTES:])
    assert getattr(found, "ending", None) == ending


def test_a_process_does_not_tell_of_its_own_crash() -> None:
    with pytest.raises(ValueError, match="has ended"):
        ended(Crashed("SIGSEGV"))
