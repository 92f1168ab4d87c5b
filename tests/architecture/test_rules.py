"""The rules that keep the code base as ARCHITECTURE.md and CONTRIBUTING.md say, checked on the code itself."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from acked_common.model.lifecycle import State
from acked_common.runtime import setting_names
from deploy.settings_resolution import NOT_IN_CONTAINERS

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for folder in ("libs", "services", "deploy") for path in (ROOT / folder).rglob("*.py"))
COMMON = ROOT / "libs/common/src/acked_common"
CLIENT = ROOT / "libs/client/src/acked_client"
CLI = ROOT / "libs/cli/src/acked_cli"
SERVICES = {"acked_intake", "acked_gateway", "acked_worker"}
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "handlers" / "README.md")
)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imported(path: Path) -> set[str]:
    """Top-level names of all imports."""
    names: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
    return names


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_are_sources() -> None:
    assert len(SOURCES) > 60


def test_no_service_imports_another() -> None:
    for path in SOURCES:
        own = {part for part in path.parts if part in SERVICES}
        if own:
            assert not (packages(path) & SERVICES) - own, relative(path)


def test_libraries_import_no_service() -> None:
    for path in SOURCES:
        if path.is_relative_to(ROOT / "libs"):
            assert not packages(path) & SERVICES, relative(path)


def test_the_client_imports_none_of_ours() -> None:
    ours = {"acked", "acked_common"} | SERVICES
    found = [path for path in SOURCES if path.is_relative_to(CLIENT)]
    assert len(found) > 20
    for path in found:
        assert not packages(path) & ours, relative(path)


def test_the_command_line_imports_the_client_alone() -> None:
    ours = {"acked", "acked_common"} | SERVICES
    found = [path for path in SOURCES if path.is_relative_to(CLI)]
    assert len(found) > 15
    for path in found:
        assert not packages(path) & ours, relative(path)


def test_motor_is_imported_in_one_module() -> None:
    users = [relative(path) for path in SOURCES if "motor" in packages(path)]
    assert users == [relative(COMMON / "store/mongo/driver.py")]


def test_the_broker_library_is_imported_by_its_owners() -> None:
    users = {relative(path) for path in SOURCES if packages(path) & {"aio_pika", "aiormq"}}
    assert users <= {relative(path) for path in (COMMON / "broker/rabbitmq").glob("*.py")}


def test_the_environment_is_read_in_one_place() -> None:
    # Handlers of users run without the services.
    readers = {COMMON / "runtime/env.py", ROOT / "libs/acked/src/acked/kinds/settings.py"}
    # Clients run without them too.
    readers |= {CLIENT / "settings.py", CLI / "settings.py"}
    for path in SOURCES:
        if path.is_relative_to(ROOT / "deploy") or path in readers:
            continue
        names = [node.attr for node in ast.walk(tree_of(path)) if isinstance(node, ast.Attribute)]
        assert "environ" not in names, relative(path)
        assert "getenv" not in names, relative(path)


def test_no_frame_of_a_running_thread_is_read() -> None:
    # Why: acked_worker/process/thread_stack.py.
    for path in SOURCES:
        names = {node.attr for node in ast.walk(tree_of(path)) if isinstance(node, ast.Attribute)}
        assert "_current_frames" not in names, relative(path)


def test_shipped_code_imports_no_test_code() -> None:
    for path in SOURCES:
        assert not packages(path) & {"pytest", "support", "hypothesis"}, relative(path)


def _strings(path: Path) -> Iterator[ast.Constant]:
    tree = tree_of(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node


def test_states_are_written_in_their_owner_alone() -> None:
    states = {state.value for state in State}
    # The names of an enum of its own and of fields of other things.
    allowed = {
        ("deploy/held_work.py", "running"),
        ("libs/common/src/acked_common/store/mongo/documents.py", "running"),
    }
    allowed |= {("services/gateway/src/acked_gateway/workers/routes.py", "running")}
    allowed |= {("deploy/docker/containers.py", "running")}
    allowed |= {("libs/common/src/acked_common/store/mongo/ledger_documents.py", "cancelled")}
    allowed |= {("libs/common/src/acked_common/api/representations.py", word) for word in ("failed", "cancelled")}
    allowed |= {("libs/common/src/acked_common/model/bulk_actions.py", word) for word in ("running", "failed")}
    allowed |= {("services/gateway/src/acked_gateway/load_test/routes.py", "failed")}
    allowed |= {("services/gateway/src/acked_gateway/kinds/operations.py", "running")}
    allowed |= {("libs/client/src/acked_client/model/requests.py", word) for word in ("succeeded", "failed")}
    allowed |= {("libs/cli/src/acked_cli/output/columns.py", "running")}
    for path in SOURCES:
        # The client needs none of our packages; a test compares its states with ours.
        if path in (COMMON / "model/lifecycle.py", CLIENT / "model/states.py"):
            continue
        for node in _strings(path):
            if node.value in states and (relative(path), node.value) not in allowed:
                raise AssertionError(f"{relative(path)}:{node.lineno} writes the state {node.value!r}")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_in_documents_lead_to_files(name: str) -> None:
    document = ROOT / name
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", document.read_text()):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (document.parent / target).exists(), f"{name}: {target}"


def test_every_setting_is_described() -> None:
    described = set(re.findall(r"`(ACKED_[A-Z_]+)`", (ROOT / "docs/settings.md").read_text()))
    readers = [path for path in SOURCES if path.name not in ("setting_names.py", "settings_resolution.py")]
    read = {node.value for path in readers for node in _strings(path) if re.fullmatch(r"ACKED_[A-Z_]+", node.value)}
    read |= _named_in_compose()
    of_files = {f"{name}_FILE" for name in setting_names.SECRETS}
    assert read - setting_names.INTERNAL - of_files == described - of_files
    known = setting_names.SERVICES | setting_names.STACK | setting_names.CONTAINERS | setting_names.CLIENTS
    assert known - of_files == described - of_files, "setting_names.py and docs/settings.md name the same settings"


def _named_in_compose() -> set[str]:
    files = [ROOT / "compose.yaml", ROOT / "deploy/compose.proxy.yaml"]
    return {name for file in files for name in re.findall(r"\$\{(ACKED_[A-Z_]+)", file.read_text())}


def test_compose_passes_every_setting_of_services_on() -> None:
    ours = {"ACKED_INIT_REPLICA_SET", "ACKED_RUN_FILE", "ACKED_RUN_DIR", "ACKED_WORKER_NAME"}
    assert setting_names.SERVICES - NOT_IN_CONTAINERS - ours - {"ACKED_CRASH"} <= _named_in_compose()


def test_every_variable_of_tests_is_known() -> None:
    texts = [path.read_text() for path in sorted((ROOT / "tests").rglob("*.py"))]
    found = {name for text in texts for name in re.findall(r"ACKED_(?:TEST|SIM)_[A-Z_]+[A-Z]", text)}
    assert found <= setting_names.TESTS


OF_ONE_TENANT = {"JobFilter", "Topic", "count_batch", "batch_ends", "stored_job", "parse_frame"}
"""What answers clients has to name whose jobs it means; the defaults are for programs of one tenant, such as tests."""
COMMANDS = {"cancel", "retry", "resolve", "run_now", "erase", "editable", "edit"}
"""Their operator names it."""


def _name(function: ast.expr) -> tuple[str, str]:
    """The name that is called, and what it is called on."""
    if isinstance(function, ast.Attribute):
        return function.attr, ast.unparse(function.value)
    return (function.id, "") if isinstance(function, ast.Name) else ("", "")


def test_what_answers_clients_names_the_tenant() -> None:
    asked = [path for path in SOURCES if path.is_relative_to(ROOT / "services")]
    asked += [COMMON / "api/status_route.py", COMMON / "api/long_poll.py"]
    found = 0
    for path in asked:
        for node in ast.walk(tree_of(path)):
            if not isinstance(node, ast.Call):
                continue
            called, on = _name(node.func)
            needs = called in OF_ONE_TENANT or (called == "get" and on.endswith("store"))
            needs = needs or (called == "wait" and on == "waits")
            is_command = called == "command" or (called in COMMANDS and on in ("commands", "edits"))
            if needs or is_command:
                found += 1
                named = {keyword.arg for keyword in node.keywords}
                assert ("operator" if is_command else "tenant") in named, f"{relative(path)}:{node.lineno}"
    assert found >= 15


def test_the_lock_records_no_address() -> None:
    assert "://" not in (ROOT / "requirements.lock").read_text()
