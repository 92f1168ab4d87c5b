"""`demo`, `noop` and `flaky`."""

import time
from typing import Any

import pytest

from acked import Permanent
from acked.kinds import demo, flaky, noop
from acked.testing import RecordingAttempt


async def test_demo_sleeps_as_long_as_it_is_told() -> None:
    begun = time.monotonic()
    assert await demo.demo(RecordingAttempt().context, {"seconds": 0.05, "note": "x"}) == {"slept_s": 0.05}
    assert time.monotonic() - begun > 0.04
    assert await demo.demo(RecordingAttempt().context, {"seconds": 0}) == {"slept_s": 0.0}


@pytest.mark.parametrize("payload", [None, {}, [], "text", 7, {"second": 1}, ["seconds"]])
async def test_demo_takes_every_other_payload(payload: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[tuple[float, float]] = []

    def draw(low: float, high: float) -> float:
        bounds.append((low, high))
        return low

    monkeypatch.setattr("acked.kinds.demo.random.uniform", draw)
    assert await demo.demo(RecordingAttempt().context, payload) == {"slept_s": 0.0}
    assert bounds == [(0.0, 2.0)]


@pytest.mark.parametrize("seconds", [-0.1, 86_401, "1", None, True, [1]])
async def test_demo_refuses_nonsense(seconds: Any) -> None:
    with pytest.raises(Permanent, match='"seconds" must be a number from 0 to 86400') as caught:
        await demo.demo(RecordingAttempt().context, {"seconds": seconds})
    assert caught.value.type == "bad-payload"


async def test_noop_returns_nothing() -> None:
    result: object = await noop.noop(RecordingAttempt().context, {"any": "thing"})  # type: ignore[func-returns-value]
    assert result is None


async def test_flaky_counts_failures_not_attempts() -> None:
    for failures in range(3):
        with pytest.raises(flaky.FlakyError, match=f"failure {failures + 1} of 3"):
            await flaky.flaky(RecordingAttempt(failures=failures, attempt=9).context, {"failures": 3})
    assert await flaky.flaky(RecordingAttempt(failures=3, attempt=4).context, {"failures": 3}) == {"failures": 3}


async def test_flaky_fails_once_unless_told() -> None:
    with pytest.raises(flaky.FlakyError):
        await flaky.flaky(RecordingAttempt().context, None)
    assert await flaky.flaky(RecordingAttempt(failures=1).context, None) == {"failures": 1}
    assert await flaky.flaky(RecordingAttempt().context, {"failures": 0}) == {"failures": 0}


@pytest.mark.parametrize("failures", [-1, 1_001, 1.0, "1", None, True])
async def test_flaky_refuses_nonsense(failures: Any) -> None:
    with pytest.raises(Permanent, match='"failures" must be an integer from 0 to 1000'):
        await flaky.flaky(RecordingAttempt().context, {"failures": failures})
