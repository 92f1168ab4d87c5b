"""Where a body is parsed."""

import contextlib
import threading
from functools import partial
from typing import Any

import pytest

from acked_common.http.problems import ProblemError
from acked_common.model.json_scanner import JsonScanner
from acked_intake.accept.submission import parse_submission
from acked_intake.request.parsing import ON_LOOP_BYTES, SCANNED_ON_LOOP_BYTES, parse_fairly

parse = partial(parse_fairly, parse_submission)


async def test_a_small_body_is_parsed_at_once_and_a_large_one_in_another_thread() -> None:
    threads: list[threading.Thread] = []

    def noting(body: bytes, **limits: Any) -> Any:
        threads.append(threading.current_thread())
        return parse_submission(body, **limits)

    small = b'{"kind": "noop"}'
    assert (await parse_fairly(noting, small)).kind == "noop"
    assert (await parse_fairly(noting, small.ljust(ON_LOOP_BYTES))).kind == "noop"
    assert (await parse_fairly(noting, small.ljust(ON_LOOP_BYTES + 1))).kind == "noop"
    here = threading.main_thread()
    assert [thread is here for thread in threads] == [True, True, False]


@pytest.mark.parametrize(
    "payload", [b"1" + b",1" * 1000 + b",x", b'{"a":0,"a":1}' + b",1" * 1000, b'"\\u003a"' + b",1" * 1000]
)
async def test_a_doubtful_body_is_judged_in_another_thread(monkeypatch: pytest.MonkeyPatch, payload: bytes) -> None:
    threads: list[threading.Thread] = []
    scan = JsonScanner.scan

    def noting(scanner: JsonScanner) -> None:
        threads.append(threading.current_thread())
        scan(scanner)

    monkeypatch.setattr(JsonScanner, "scan", noting)
    body = b'{"kind": "noop", "payload": [' + payload + b"]}"
    assert SCANNED_ON_LOOP_BYTES < len(body) <= ON_LOOP_BYTES
    with contextlib.suppress(ProblemError):
        await parse(body)
    with pytest.raises(ProblemError):
        await parse(b'{"kind"')
    assert [thread is threading.main_thread() for thread in threads] == [False, True]


@pytest.mark.parametrize("size", [0, SCANNED_ON_LOOP_BYTES + 1, ON_LOOP_BYTES + 1])
async def test_a_wrong_body_is_refused_on_both_ways(size: int) -> None:
    with pytest.raises(ProblemError) as caught:
        await parse(b'{"kind": 5}'.ljust(size))
    assert caught.value.problem.errors[0]["pointer"] == "/kind"
    with pytest.raises(ProblemError) as caught:
        await parse(b'{"kind"'.ljust(size), max_bytes=ON_LOOP_BYTES * 2)
    assert caught.value.problem.name == "bad-json"
