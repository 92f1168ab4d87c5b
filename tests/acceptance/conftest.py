"""A running stack of the shipped entry points: one for all modules that tell its parts nothing of their own."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

pytest.register_assert_rewrite("support.stacks", "support.contract")

from deploy.native.readiness import READY  # noqa: E402
from deploy.native.stack import free_port_base  # noqa: E402
from support.browser import Browser, running_browser  # noqa: E402
from support.feed import FEED_CLIENTS  # noqa: E402
from support.order import rank  # noqa: E402
from support.shared_servers import SharedServers  # noqa: E402
from support.slow_clients import REQUEST_WITHIN_S  # noqa: E402
from support.stacks import StartStack, TestStack, eventually, running_stack  # noqa: E402

HANDLERS = Path(__file__).parent / "handlers"
STARTS_STACKS = "test_settings_kept.py"
"""It shares none either."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules with a stack of their own come first: the shared one begins when they are done, and idles beside none.
    The longest of them begin. Those of the contract come last: they are short, so that no process works on long after
    the others."""
    items.sort(
        key=lambda item: (
            not _has_own_stack(item),
            item.path.name.startswith("test_contract_"),
            rank(item.path),
        )
    )


def _has_own_stack(item: pytest.Item) -> bool:
    return item.path.name == STARTS_STACKS or (
        isinstance(item, pytest.Function) and any(hasattr(item.module, name) for name in ("ENVIRON", "stack"))
    )


def stack_with(
    environ: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory, scale: Mapping[str, int] | None = None
) -> AbstractContextManager[TestStack]:
    """A stack that also serves the kinds of `handlers/`."""
    told = {"ACKED_HANDLERS_DIR": str(HANDLERS), "ACKED_DRAIN_S": "2", **environ}
    return running_stack(tmp_path_factory.mktemp("stack"), environ=told, scale=scale)


def wait_as_it_was(stack: TestStack) -> None:
    """Until no job runs and the worker is ready: which module comes next on a stack is left to chance."""
    answer = stack.call("GET", "/jobs?state=running")
    assert answer.status == 200, answer.raw
    for job in answer.body["jobs"]:
        stack.finished(job["id"])
    # One that was killed has no port until it is back.
    eventually(lambda: stack.stack.parts.readiness("worker-1") in READY, within_s=30, what="ready again")


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    """The stack of all modules without an `ENVIRON`; each leaves it as it was, but for its jobs."""
    with stack_with({"ACKED_FEED_CLIENTS": str(FEED_CLIENTS)}, tmp_path_factory) as running:
        yield running


@pytest.fixture(scope="session")
def stack_of_the_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    """The stack of all modules that are `alone`: it lets in as many clients as one shipped does, but waits less long
    for slow ones."""
    timeouts = ("ACKED_FIRST_BYTE_TIMEOUT_S", "ACKED_HEAD_TIMEOUT_S", "ACKED_BODY_TIMEOUT_S")
    with stack_with(dict.fromkeys(timeouts, str(REQUEST_WITHIN_S)), tmp_path_factory) as running:
        yield running


@pytest.fixture(scope="session")
def shared_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedServers]:
    """The servers of the stacks that modules start with `start_stack`."""
    servers = SharedServers(tmp_path_factory.mktemp("servers"), free_port_base())
    servers.start()
    yield servers
    servers.stop()


@pytest.fixture(scope="module")
def start_stack(tmp_path_factory: pytest.TempPathFactory, shared_servers: SharedServers) -> Iterator[StartStack]:
    """Start stacks on shared servers; they end with the module. A module that stops its servers, or asks for the
    accounts of the services, has `OWN_SERVERS` or calls `stack_with`."""
    with ExitStack() as running:

        def start(environ: Mapping[str, str], scale: Mapping[str, int] | None = None) -> TestStack:
            place = running.enter_context(shared_servers.place())
            return running.enter_context(stack_with({**place, **environ}, tmp_path_factory, scale))

        yield start


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    """A shared stack, or the module's own where it has an `ENVIRON`: what the parts of that one are told."""
    environ = getattr(request.module, "ENVIRON", None)
    if environ is None:
        is_alone = request.node.get_closest_marker("alone") is not None
        shared = request.getfixturevalue("stack_of_the_alone" if is_alone else "shared_stack")
        yield shared
        wait_as_it_was(shared)
    elif getattr(request.module, "OWN_SERVERS", False):
        with stack_with(environ, tmp_path_factory) as running:
            yield running
    else:
        start: StartStack = request.getfixturevalue("start_stack")
        yield start(environ)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A real browser, one for the tests of a module."""
    with running_browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    """The browser of the module, as wide as a desk has it, with an empty page and an empty console."""
    chromium.program.revive()
    chromium.show_as()
    chromium.open("about:blank")
    chromium.complaints()
    return chromium
