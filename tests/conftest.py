"""What all tests share: a marker for each folder, and servers for those that ask for them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import structlog
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from support.servers import Servers

TESTS = Path(__file__).parent
FOLDERS = {
    "unit": "pure logic; needs nothing",
    "simulation": "the lifecycle under drawn faults, in virtual time; needs nothing",
    "contracts": "one suite run against the in-memory and the real part",
    "integration": "real MongoDB and RabbitMQ",
    "acceptance": "the shipped entry points as processes, outside behaviour only",
    "faults": "kills, pauses, cuts and restarts under load",
    "soak": "hours of load",
    "architecture": "import rules and the like; needs nothing",
}
WITHOUT_SERVERS = {"unit", "simulation", "architecture"}

pytest.register_assert_rewrite("support.factories", "support.guarded", "support.raw_http")


# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("acked", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("acked")

# Tracebacks as text: drawn ones take longer than most tests.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the number of jobs on the command line: `--ended-jobs 1000000`."""
    parser.addoption("--ended-jobs", type=int, help="of the tests over very many jobs")


@pytest.fixture(scope="module")
def ended_jobs(request: pytest.FixtureRequest) -> int:
    """How many jobs have succeeded, beside failed ones; without the option as many as the module's `ENDED_JOBS`."""
    number: int = request.config.getoption("--ended-jobs") or request.module.ENDED_JOBS
    return number


def pytest_configure(config: pytest.Config) -> None:
    """Makes each folder's marker known."""
    # Coverage measures the processes that run tests. To begin it in those that tests start would take a sixth of the
    # whole run, and adds 0.2 percent.
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ.pop("COVERAGE_PROCESS_CONFIG", None)
    for folder, meaning in FOLDERS.items():
        config.addinivalue_line("markers", f"{folder}: {meaning}")
    config.addinivalue_line("markers", "alone: measures time or loads the machine; nothing runs beside it")
    config.addinivalue_line("markers", "long: takes minutes; only in the second tier, `./just test full`")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks each test with its folder."""
    for item in items:
        if not item.path.is_relative_to(TESTS):
            continue
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in FOLDERS:
            item.add_marker(folder)
        if folder in WITHOUT_SERVERS and "servers" in getattr(item, "fixturenames", ()):
            raise pytest.UsageError(f"{item.nodeid} asks for servers; tests in {folder}/ must not")


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Servers]":
    """MongoDB and RabbitMQ of this test run alone; skips where none can start, fails there with CI=true."""
    from support.servers import ServersUnavailable, start_servers

    try:
        started = start_servers(tmp_path_factory.mktemp("servers"))
    except ServersUnavailable as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    yield started
    started.stop()


@pytest.fixture(scope="session")
def mongo_url(servers: "Servers") -> str:
    """Where MongoDB answers."""
    return servers.mongo_url


@pytest.fixture(scope="session")
def amqp_url(servers: "Servers") -> str:
    """Where RabbitMQ answers."""
    return servers.amqp_url


@pytest.fixture(scope="session")
def _emptied_database() -> str:
    return f"test_{uuid4().hex[:16]}"


@pytest.fixture
def mongo_database(servers: "Servers", _emptied_database: str) -> Iterator[str]:
    """The name of a database without documents. It may have the schema, which a test leaves as it is.

    To make and drop the collections and indexes of each test would take longer than the test, and MongoDB closes the
    files of dropped ones late: after some hundred tests it would reach its limit of open files, and exit.
    """
    yield _emptied_database
    servers.empty_database(_emptied_database)


@pytest.fixture
def fresh_database(servers: "Servers") -> Iterator[str]:
    """The name of a database that does not exist, for tests of the schema itself; it is dropped afterwards."""
    name = f"test_{uuid4().hex[:16]}"
    yield name
    servers.drop_database(name)
