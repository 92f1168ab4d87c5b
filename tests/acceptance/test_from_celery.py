"""The Celery application of docs/examples and its twin: the same tests of both, through the same console."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from support.shared_servers import SharedServers
from support.stacks import StartStack, eventually

pytestmark = pytest.mark.long

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
WITHIN_S = 60.0
AT_ONCE = 2
"""How many blocking tasks each worker runs at once."""


@contextmanager
def program(
    command: Sequence[str], environ: dict[str, str], cwd: Path, **streams: Any
) -> Iterator[subprocess.Popen[str]]:
    """A program that ends with the block."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ACKED_")}
    process = subprocess.Popen(command, cwd=cwd, env={**inherited, **environ}, text=True, **streams)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=WITHIN_S)


class Shop:
    """One of both applications, with its workers, as a caller and the reader of its log see it."""

    def __init__(self, console: subprocess.Popen[str], log: Path) -> None:
        self._console = console
        self._log = log

    def call(self, call: str, /, **arguments: Any) -> Any:
        """Call a function of the shop."""
        assert self._console.stdin is not None
        assert self._console.stdout is not None
        self._console.stdin.write(json.dumps({"call": call, "with": arguments}) + "\n")
        self._console.stdin.flush()
        line = self._console.stdout.readline()
        assert line, "the console has ended; its error stands above"
        return json.loads(line)

    def ends(self, task_id: str) -> dict[str, Any]:
        """Wait for the end of a task."""
        found = self.call("outcome", task_id=task_id, timeout_s=WITHIN_S)
        assert found["state"] != "unknown", f"{task_id} has not ended"
        return dict(found)

    def times(self, effect: str) -> int:
        """How often something was done."""
        return self._log.read_text().splitlines().count(effect) if self._log.exists() else 0

    def await_effect(self, effect: str) -> None:
        eventually(lambda: self.times(effect), within_s=WITHIN_S, what=effect)


@pytest.fixture(scope="module", params=["celery_app", "celery_twin"])
def shop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, start_stack: StartStack
) -> Iterator[Shop]:
    folder: str = request.param
    log = tmp_path_factory.mktemp(folder) / "shop.log"
    with ExitStack() as running:
        if folder == "celery_app":
            servers: SharedServers = request.getfixturevalue("shared_servers")
            environ = start_celery(running, servers, log)
        else:
            environ = start_acked(start_stack, log)
        command = [sys.executable, "shop_console.py", folder]
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        yield Shop(running.enter_context(program(command, environ, EXAMPLES, **streams)), log)


def start_celery(running: ExitStack, servers: SharedServers, log: Path) -> dict[str, str]:
    place = running.enter_context(servers.place())
    environ = {
        "BROKER_URL": place["ACKED_AMQP_URL"],
        "RESULTS_URL": place["ACKED_MONGO_URL"].replace("/?", f"/{place['ACKED_DATABASE']}?"),
        "SHOP_LOG": str(log),
    }
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--beat", "--concurrency", str(AT_ONCE)]
    command += ["--schedule", str(log.with_name("beat")), "--loglevel", "WARNING"]
    running.enter_context(program(command, environ, EXAMPLES / "celery_app"))
    return environ


def start_acked(start_stack: StartStack, log: Path) -> dict[str, str]:
    handlers = EXAMPLES / "celery_twin" / "handlers"
    told = {"ACKED_HANDLERS_DIR": str(handlers), "ACKED_WORKER_THREADS": str(AT_ONCE), "SHOP_LOG": str(log)}
    stack = start_stack(told)
    environ = {"GATEWAY": f"http://localhost:{stack.gateway_port}"}
    subprocess.run(
        [sys.executable, str(EXAMPLES / "celery_twin" / "schedules.py")],
        env={**os.environ, **environ},
        timeout=WITHIN_S,
        check=True,
    )
    return environ


def succeeded(result: Any) -> dict[str, Any]:
    return {"state": "succeeded", "result": result, "error": None}


def name() -> str:
    return uuid4().hex


def test_task_returns_a_result(shop: Shop) -> None:
    assert shop.ends(shop.call("quote", prices=[1, 2, 39])) == succeeded(42)


def test_task_is_retried_until_it_succeeds(shop: Shop) -> None:
    order = name()
    assert shop.ends(shop.call("charge", order=order, declines=2)) == succeeded({"order": order, "attempts": 3})
    assert shop.times(f"charged {order}") == 1


def test_task_out_of_retries_fails_with_its_error(shop: Shop) -> None:
    order = name()
    failed = {"state": "failed", "result": None, "error": "PaymentDeclined"}
    assert shop.ends(shop.call("charge", order=order, declines=4)) == failed
    assert shop.times(f"charged {order}") == 0


def test_task_with_a_countdown_runs_later(shop: Shop) -> None:
    order = name()
    task_id = shop.call("remind", order=order, in_s=1.5)
    assert shop.call("outcome", task_id=task_id, timeout_s=0.5)["state"] == "unknown"
    assert shop.times(f"reminded {order}") == 0
    assert shop.ends(task_id) == succeeded(None)
    assert shop.times(f"reminded {order}") == 1


def test_group_has_a_result_for_each_member(shop: Shop) -> None:
    images = ["a", "broken", "ccc"]
    ends = [shop.ends(task_id) for task_id in shop.call("resize_all", images=images)]
    assert [(end["state"], end["result"]) for end in ends] == [("succeeded", 1), ("failed", None), ("succeeded", 3)]


def test_chord_joins_the_results(shop: Shop) -> None:
    assert shop.ends(shop.call("contact_sheet", images=["a", "bb", "ccc"])) == succeeded(6)


def test_chord_fails_with_a_member(shop: Shop) -> None:
    end = shop.ends(shop.call("contact_sheet", images=["a", "broken"]))
    assert (end["state"], end["result"]) == ("failed", None)


def test_task_without_a_result_runs(shop: Shop) -> None:
    page = name()
    shop.call("visit", page=page)
    shop.await_effect(f"visited {page}")


def test_expired_task_never_runs(shop: Shop) -> None:
    late, others = name(), [name() for _ in range(AT_ONCE * 3)]
    # Workers of both take some tasks ahead of free threads, but not all of these: the last one waits in the queue.
    started = [shop.call("offer", order=order, seconds=2, valid_s=WITHIN_S) for order in others]
    for order in others[:AT_ONCE]:
        shop.await_effect(f"offered {order}")
    expired = shop.call("offer", order=late, seconds=0, valid_s=0.5)
    assert [shop.ends(task_id) for task_id in started] == [succeeded(None)] * len(others)
    assert shop.ends(expired) == {"state": "expired", "result": None, "error": None}
    assert [shop.times(f"offered {order}") for order in (*others, late)] == [1] * len(others) + [0]


def test_running_task_is_stopped(shop: Shop) -> None:
    export = name()
    task_id = shop.call("export", name=export, seconds=WITHIN_S)
    shop.await_effect(f"exporting {export}")
    shop.call("cancel", task_id=task_id)
    assert shop.ends(task_id)["state"] == "cancelled"
    assert (shop.times(f"exporting {export}"), shop.times(f"exported {export}")) == (1, 0)


def test_delayed_task_is_cancelled_before_it_runs(shop: Shop) -> None:
    order = name()
    task_id = shop.call("remind", order=order, in_s=2)
    shop.call("cancel", task_id=task_id)
    assert shop.ends(task_id)["state"] == "cancelled"
    assert shop.times(f"reminded {order}") == 0


def test_task_beyond_its_time_limit_fails(shop: Shop) -> None:
    assert shop.ends(shop.call("render", seconds=WITHIN_S))["state"] == "failed"


def test_schedule_runs_each_second(shop: Shop) -> None:
    before = shop.times("heartbeat")
    eventually(lambda: shop.times("heartbeat") >= before + 3, within_s=WITHIN_S, what="three heartbeats")
