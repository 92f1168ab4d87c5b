"""What the recipes exit with, as scripts read it: whole, partly down, down, and what can't be done."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from deploy.native.__main__ import IS_DOWN, IS_PARTLY_DOWN, IS_WHOLE, main
from support.stacks import TestStack, eventually, running_stack

Recipe = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    with running_stack(tmp_path_factory.mktemp("codes")) as started:
        yield started


@pytest.fixture
def recipe(stack: TestStack, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Recipe:
    """Runs a recipe for the stack: its exit code, output and complaint."""
    monkeypatch.setenv("ACKED_STATE_DIR", str(stack.stack.layout.state))
    monkeypatch.setenv("ACKED_PORT_BASE", str(stack.stack.layout.ports.base))

    def run(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(words)
        return code, *capfd.readouterr()

    return run


def test_status_of_a_whole_stack_is_zero(recipe: Recipe) -> None:
    code, shown, complaint = recipe("status")
    assert (code, complaint) == (IS_WHOLE, "")
    assert "worker-1" in shown


def test_status_shows_pauses_and_bulk_actions(stack: TestStack, recipe: Recipe) -> None:
    quiet = recipe("status")[1]
    assert stack.call("POST", "/kinds/noop/pause", {"reason": "the provider\x1b[2J is down"}).status == 200
    order = {"action": "retry", "ids": [str(uuid4()) for _ in range(9)], "rate_per_s": 0.1, "reason": "fixed"}
    action = stack.call("POST", "/bulk-actions", order)
    assert action.status == 202, action.raw
    code, shown, complaint = recipe("status")
    assert (code, complaint) == (IS_WHOLE, "")
    paused, retry = shown.splitlines()[-2:]
    assert re.fullmatch(r"paused: kind noop by local since \S+Z: the provider\?\[2J is down", paused)
    assert re.fullmatch(
        rf"bulk action: retry {action.body['id']}, 0 of 9 done(, \d refused)?, by local since \S+Z: fixed", retry
    )
    assert stack.call("POST", f"/bulk-actions/{action.body['id']}/abort").status == 200
    assert stack.call("POST", "/kinds/noop/resume").status == 200
    eventually(
        lambda: len(recipe("status")[1].splitlines()) == len(quiet.splitlines()), within_s=10, what="both are over"
    )


def test_status_of_a_partly_stopped_stack_names_the_part(stack: TestStack, recipe: Recipe) -> None:
    stack.stack.parts.stop("worker-1")
    code, _, complaint = recipe("status")
    assert (code, complaint) == (IS_PARTLY_DOWN, "just status: not whole: worker-1\n")
    stack.stack.parts.start("worker-1")
    eventually(lambda: recipe("status")[0] == IS_WHOLE, within_s=60, what="whole again")


def test_status_without_a_server_is_not_zero(stack: TestStack, recipe: Recipe) -> None:
    stack.stack.parts.stop("mongod")
    code, _, complaint = recipe("status")
    assert code == IS_PARTLY_DOWN
    assert "mongod" in complaint
    stack.stack.parts.start("mongod")
    eventually(lambda: recipe("status")[0] == IS_WHOLE, within_s=60, what="whole again")


def test_load_test_whose_jobs_succeed_is_zero(recipe: Recipe) -> None:
    assert recipe("load-test", "5")[0] == 0


@pytest.mark.parametrize(
    "words", [("load-test", "many"), ("logs", "workr"), ("restart", "workr"), ("scale", "wrker=2")]
)
def test_recipe_with_a_typo_is_refused(recipe: Recipe, words: tuple[str, str]) -> None:
    assert recipe(*words)[0] == 1


def test_up_of_a_stack_that_is_up_and_down_of_one_that_is_down_are_zero(stack: TestStack, recipe: Recipe) -> None:
    assert recipe("up")[0] == 0
    os.kill(int((stack.stack.layout.run / "supervisor.pid").read_text()), signal.SIGKILL)
    eventually(lambda: not stack.stack.is_up(), within_s=10, what="the supervisor is gone")
    code, shown, _ = recipe("status")
    assert code == IS_PARTLY_DOWN
    assert "the supervisor has exited" in shown
    assert recipe("down")[0] == 0
    code, shown, _ = recipe("status")
    assert (code, shown) == (IS_DOWN, "down; ./just up starts it\n")
    assert recipe("down")[0] == 0
    assert [recipe(*words)[0] for words in (["restart"], ["load-test", "5"], ["scale", "1"])] == [1, 1, 0]
