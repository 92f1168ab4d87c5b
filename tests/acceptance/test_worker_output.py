"""What handlers print has a log of its own: the worker's own lines always stay."""

import time

import pytest

from acked_common.model.lifecycle import State
from support.stacks import TestStack

ENVIRON = {"ACKED_HANDLER_MODULES": "acked.kinds"}
LONG = pytest.mark.long
MB = 64
"""More than all files of a worker's log may hold."""


@pytest.mark.parametrize(
    "how", ["stdout", "binary", *(pytest.param(how, marks=LONG) for how in ("stderr", "no newline", "program", "log"))]
)
def test_flood_of_output_leaves_the_workers_own_lines(stack: TestStack, how: str) -> None:
    job_id = stack.process("test.prints", payload={"how": how, "mb": MB})
    while stack.status(job_id)["state"] != State.SUCCEEDED:
        began = time.monotonic()
        assert stack.finished(stack.process("noop"))["state"] == State.SUCCEEDED
        assert time.monotonic() - began < 10, "others go on meanwhile"

    logs = stack.stack.layout.logs
    own = (logs / "worker-1.log").read_bytes()
    assert b'"event": "worker started"' in own
    assert b"xxxx" not in own and b"yyyy" not in own
    assert len(own) < 1_000_000
    printed = sum(file.stat().st_size for file in logs.glob("worker-1.out.log*"))
    assert 1_000_000 < printed < 50_000_000
