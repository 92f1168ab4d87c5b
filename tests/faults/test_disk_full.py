"""MongoDB's disk is full: nothing is accepted that is not kept, and when there is room again all goes on by itself."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from acked_common.model.lifecycle import State
from deploy.native.layout import Layout, Ports
from support.stacks import TestStack, eventually, running_stack
from support.submitted import all_ended, endings

DISK_MIB = 700
TRIES = 3000
ANSWERED_WITHIN_S = 2.5
BATCH = "disk-full"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The folder of a stack whose MongoDB has a small disk of its own."""
    data = Layout((tmp_path / "stack").resolve(), Ports(1)).mongo_data
    data.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "acked-test", str(data)], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.xfail("needs the right to mount a file system")
    yield tmp_path / "stack"
    # A MongoDB that was killed holds its files for some moments more.
    eventually(lambda: _unmounted(data), within_s=30, what="nobody uses the small disk any more")


def _unmounted(data: Path) -> bool:
    return subprocess.run(["umount", str(data)], capture_output=True, check=False).returncode == 0


def post(stack: TestStack, accepted: list[str]) -> int:
    """One large request; its status, and its id where it was accepted."""
    started = time.monotonic()
    payload = {"seconds": 0, "filling": os.urandom(100_000).hex()}
    answer = stack.call("POST", "/process", {"kind": "demo", "payload": payload, "batch": BATCH}, to="intake")
    assert answer.status in (202, 503), answer.raw
    assert time.monotonic() - started < ANSWERED_WITHIN_S
    if answer.status == 202:
        accepted.append(answer.body["id"])
    return answer.status


def test_a_full_disk_accepts_nothing_and_loses_nothing(folder: Path) -> None:
    accepted: list[str] = []
    with running_stack(folder, environ={"ACKED_ANSWER_WITHIN_S": "1.8"}) as stack:
        data = stack.stack.layout.mongo_data
        assert post(stack, accepted) == 202
        ballast = data / "ballast"
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(data).free - 2**20)
        assert any(post(stack, accepted) == 503 for _ in range(TRIES)), "its disk was never full"
        before = len(accepted)
        ballast.unlink()
        eventually(lambda: post(stack, accepted) == 202, within_s=90, what="requests are accepted again")
        eventually(lambda: all_ended(stack, BATCH, len(accepted)), within_s=90, what="all of them have ended")
        assert endings(stack, accepted) == {(State.SUCCEEDED.value, 1): len(accepted)}
        assert before > 1
