"""A supervisor that was killed, or a scale that was cut off: `up` and `down` tidy up what is left."""

import os
import signal
from collections.abc import Iterator

import pytest
from pymongo import MongoClient

from deploy.native.launch import MONGOD_HISTORY_S
from deploy.native.layout import ROOT, Layout
from deploy.native.stack import Stack
from support.stacks import TestStack, eventually, gone, running_stack


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    with running_stack(tmp_path_factory.mktemp("whole")) as started:
        yield started


def kill_the_supervisor(stack: Stack) -> dict[int, str]:
    """SIGKILL to the supervisor; what it leaves behind."""
    pid = int((stack.layout.run / "supervisor.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: pid not in stack.parts.processes(), within_s=5, what="the supervisor is gone")
    left = stack.parts.processes()
    assert not stack.is_up()
    return left


def test_up_ends_what_a_killed_supervisor_left_and_starts_anew(whole: TestStack) -> None:
    job = whole.process("noop")
    assert whole.finished(job)
    before = whole.stack.parts.pids()

    left = kill_the_supervisor(whole.stack)
    assert set(before.values()) <= left.keys(), "services are found too, whatever title they took"
    whole.stack.up()

    assert not left.keys() & whole.stack.parts.processes().keys()
    assert whole.stack.parts.pids().keys() == before.keys()
    assert whole.status(job)["id"] == job
    assert whole.finished(whole.process("noop"))["finished_at"]


def test_mongodb_forgets_soon_what_has_left_an_index(whole: TestStack) -> None:
    name = "minSnapshotHistoryWindowInSeconds"
    with MongoClient[dict[str, object]](whole.stack.urls["mongo"]) as mongo:
        assert mongo.admin.command("getParameter", 1, **{name: 1})[name] == MONGOD_HISTORY_S
    assert f"--setParameter={name}={MONGOD_HISTORY_S}" in (ROOT / "compose.yaml").read_text()


def test_down_ends_what_a_killed_supervisor_left(whole: TestStack) -> None:
    assert kill_the_supervisor(whole.stack)
    whole.stack.down()
    gone(whole.stack)
    whole.stack.up()


def test_up_mends_a_scale_that_was_cut_off(whole: TestStack) -> None:
    before = whole.stack.parts.pids()
    # What is left of a scale that was ended after it had written down what is wanted.
    (whole.stack.layout.state / "scale.json").write_text('{"worker": 2, "intake": 1, "gateway": 1}')
    whole.stack.up()
    after = whole.stack.parts.pids()
    assert after.keys() == before.keys() | {"worker-2"}
    assert {name: after[name] for name in before} == before, "what ran goes on"
    assert Layout(whole.stack.layout.state, whole.stack.layout.ports).socket.is_socket()
