"""The rooms of each package and which may import which, checked on the imports themselves.

A package is a stack of folders: a folder imports only from folders that stand below it in its table. The root of a
package only wires, so no folder imports it; only the `settings` of intake and worker are read by their folders.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

ROOT_MODULES = "(root)"
SETTINGS = "settings"
LAYERS = {
    "libs/common/src/acked_common": (
        ROOT_MODULES,
        "accounts",
        "cli",
        "api",
        "background",
        "http",
        "broker",
        "channel",
        "outcomes",
        "store",
        "runtime",
        "model",
    ),
    "libs/client/src/acked_client": (ROOT_MODULES, "shells", "core", "model"),
    "libs/cli/src/acked_cli": (ROOT_MODULES, "commands", "tui", "invocation", "output", "input", SETTINGS),
    "services/gateway/src/acked_gateway": (
        ROOT_MODULES,
        "load_test",
        "attention",
        "bulk",
        "schedules",
        "callbacks",
        "kinds",
        "jobs",
        "workers",
        "feed",
        "pages",
        "tokens",
        "audit",
    ),
    "services/intake/src/acked_intake": (ROOT_MODULES, "request", "fire", "accept", SETTINGS),
    "services/worker/src/acked_worker": (
        ROOT_MODULES,
        "isolate",
        "report",
        "record",
        "durable",
        "consume",
        "execute",
        "handlers",
        "process",
        SETTINGS,
    ),
}
"""OWNER of the layers: each folder may import the folders behind it in its row."""

PURE_FOLDERS = ("model", "channel", "outcomes")
"""Of `acked_common`: state machines, rules and formats, without I/O, tasks or threads."""
IMPURE_PACKAGES = {
    "asyncio",
    "threading",
    "socket",
    "starlette",
    "aio_pika",
    "aiormq",
    "motor",
    "websockets",
    "uvicorn",
    "httpx2",
}

MOST_ROOT_MODULES_OF_COMMON = 3
MOST_ARROWS_OF_COMMON = 35


def _imports(path: Path) -> Iterator[str]:
    """Every module that a module imports, dotted."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _room(package: Path, inside: tuple[str, ...]) -> str:
    """The folder of a module, given by its path inside the package."""
    if inside and (package / inside[0]).is_dir():
        return inside[0]
    return (
        SETTINGS if inside[:1] == (SETTINGS,) and SETTINGS in LAYERS[str(package.relative_to(ROOT))] else ROOT_MODULES
    )


def arrows(name: str) -> dict[tuple[str, str], list[str]]:
    """The imports between different folders of a package, each with the modules that make it."""
    package = ROOT / name
    found: dict[tuple[str, str], list[str]] = {}
    for path in sorted(package.rglob("*.py")):
        importer = _room(package, path.relative_to(package).with_suffix("").parts)
        for module in _imports(path):
            parts = tuple(module.split("."))
            if parts[0] != package.name or len(parts) == 1:
                continue
            imported = _room(package, parts[1:])
            if imported != importer:
                found.setdefault((importer, imported), []).append(str(path.relative_to(package)))
    return found


@pytest.mark.parametrize("name", LAYERS)
def test_folders_import_downwards_only(name: str) -> None:
    order = LAYERS[name]
    upward = {arrow: who for arrow, who in arrows(name).items() if order.index(arrow[0]) > order.index(arrow[1])}
    assert not upward


@pytest.mark.parametrize("name", LAYERS)
def test_every_folder_has_its_layer(name: str) -> None:
    folders = {path.parent.name for path in (ROOT / name).glob("*/__init__.py")}
    assert folders == set(LAYERS[name]) - {ROOT_MODULES, SETTINGS}


def test_common_stays_small_at_its_root() -> None:
    package = ROOT / "libs/common/src/acked_common"
    assert len(list(package.glob("*.py"))) <= MOST_ROOT_MODULES_OF_COMMON
    assert len(arrows("libs/common/src/acked_common")) <= MOST_ARROWS_OF_COMMON


@pytest.mark.parametrize("folder", PURE_FOLDERS)
def test_pure_folders_do_no_io(folder: str) -> None:
    for path in sorted((ROOT / "libs/common/src/acked_common" / folder).rglob("*.py")):
        assert not {module.split(".")[0] for module in _imports(path)} & IMPURE_PACKAGES, path


def test_only_outcomes_needs_the_handler_interface() -> None:
    # Gateway and intake are installed without `acked`.
    common = ROOT / "libs/common/src/acked_common"
    users = {
        path.relative_to(common).parts[0]
        for path in sorted(common.rglob("*.py"))
        if any(module.split(".")[0] == "acked" for module in _imports(path))
    }
    assert users == {"outcomes"}
    for service in ("gateway", "intake"):
        for path in sorted((ROOT / "services" / service).rglob("*.py")):
            assert not any(module.startswith("acked_common.outcomes") for module in _imports(path)), path


def test_modules_that_call_themselves_pure_do_no_io() -> None:
    found = 0
    for name in LAYERS:
        for path in sorted((ROOT / name).rglob("*.py")):
            summary = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
            if summary.endswith(" Pure."):
                found += 1
                assert not {module.split(".")[0] for module in _imports(path)} & IMPURE_PACKAGES, path
    assert found >= 30
