"""What can't be kept ends its job with a word on why; what looks like an operator of the database is kept as it is."""

import pytest

from acked_common.model.lifecycle import Reason, State
from support.stacks import TestStack

LIKE_OPERATORS = {
    "$set": {"state": "$$NOW"},
    "a.b": "$payload",
    "$$ROOT": ["$attempt", {"$literal": 1}, {"$where": "sleep(1000)"}],
    "": "$$REMOVE",
}
MIB = 2**20


@pytest.mark.parametrize(
    ("what", "type_", "says"),
    [
        ("20 MB", "ResultTooLarge", "store it elsewhere"),
        ("an object", "ResultNotJson", "is not JSON"),
        ("a number that JSON lacks", "ResultNotJson", "nan"),
        ("half a character", "ResultNotJson", "is not JSON"),
        ("too deep", "ResultNotJson", "recursion"),
        ("a key twice", "ResultNotJson", "occurs twice"),
        ("2^64", "ResultNotJson", "64 signed bits"),
    ],
)
def test_a_result_that_cant_be_kept_fails_its_job_at_once(stack: TestStack, what: str, type_: str, says: str) -> None:
    neighbour = stack.process("noop")
    job = stack.finished(stack.process("test.returns", payload={"what": what}))
    assert (job["state"], job["reason"], job["attempt"]) == (State.FAILED, Reason.PERMANENT_ERROR, 1)
    assert (job["error"]["type"], job["error"]["retryable"]) == (type_, False)
    assert says.lower() in job["error"]["message"].lower()
    assert stack.finished(neighbour)["state"] == State.SUCCEEDED


def test_a_result_that_looks_like_operators_is_kept_as_it_is(stack: TestStack) -> None:
    job = stack.finished(stack.process("test.returns", payload={"what": "operators"}))
    assert (job["state"], job["result"]) == (State.SUCCEEDED, LIKE_OPERATORS)


def test_a_result_at_the_limit_is_kept(stack: TestStack) -> None:
    job = stack.finished(stack.process("test.returns", payload={"what": "1 MiB"}))
    assert (job["state"], len(job["result"])) == (State.SUCCEEDED, MIB - 2)


def test_an_error_is_cut_and_cleaned_before_it_is_kept(stack: TestStack) -> None:
    job = stack.finished(stack.process("test.raises", max_attempts=1))
    assert (job["state"], job["reason"]) == (State.FAILED, Reason.ATTEMPTS_EXHAUSTED)
    assert job["error"]["message"].startswith("$$NOW \ufffd \ufffd x")
    assert len(job["error"]["message"]) <= 4096
