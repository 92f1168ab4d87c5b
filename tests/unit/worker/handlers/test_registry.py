"""How the worker finds handlers, and what it says when it can't."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from acked import registry
from acked.kinds import SHIPPED
from acked_worker.handlers.park_hazards import IN_FINALLY
from acked_worker.handlers.registration import kind_records, schema_digests
from acked_worker.handlers.registry import CHECKED_LATE, NO_KIND, NOT_CHECKED, HandlersError, load_kinds
from acked_worker.settings import Capacity

GOOD = """
from acked import handler

@handler("{kind}"{options})
async def work(ctx, payload):
    return "{kind}"
"""


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """The registry, the modules and the path as they were, and none of the shipped kinds loaded."""
    kinds, modules, path = registry.snapshot(), dict(sys.modules), list(sys.path)
    registry.restore({})
    for name in SHIPPED:
        sys.modules.pop(name, None)
    yield
    registry.restore(kinds)
    sys.path[:] = path
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]
    sys.modules.update(modules)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "handlers"
    made.mkdir()
    return made


def write(folder: Path, name: str, kind: str, options: str = "") -> Path:
    """A handler file."""
    file = folder / f"{name}.py"
    file.write_text(GOOD.format(kind=kind, options=options))
    return file


def test_shipped_kinds_by_module_and_by_package() -> None:
    assert sorted(load_kinds(SHIPPED)) == ["acked.callback", "demo", "flaky", "http_call", "noop"]
    assert sorted(load_kinds(["acked.kinds"])) == ["acked.callback", "demo", "flaky", "http_call", "noop"]


def test_only_what_is_named_is_loaded() -> None:
    assert list(load_kinds(["acked.kinds.noop"])) == ["noop"]


def test_files_of_the_folder_in_order_without_hidden_ones(folder: Path) -> None:
    write(folder, "zebra_jobs", "zebra")
    write(folder, "ant_jobs", "ant")
    write(folder, "_draft_jobs", "draft")
    (folder / "notes.txt").write_text("no Python")
    kinds = load_kinds([], folder)
    assert list(kinds) == ["ant", "zebra"]
    assert kinds["ant"].is_async
    assert kinds["ant"].place.startswith(f"{folder / 'ant_jobs.py'}:")
    assert kinds["ant"].module == "ant_jobs"


def test_loading_twice_gives_the_same(folder: Path) -> None:
    write(folder, "twice_jobs", "twice")
    assert load_kinds(["acked.kinds.noop"], folder) == load_kinds(["acked.kinds.noop"], folder)


def test_handler_files_import_each_other_and_helpers(folder: Path) -> None:
    (folder / "_prices_helper.py").write_text("PRICE = 7\n")
    (folder / "a_prices.py").write_text("from _prices_helper import PRICE\nimport b_prices\n")
    write(folder, "b_prices", "price")
    assert list(load_kinds([], folder)) == ["price"]


def test_a_folder_that_is_not_there_has_no_handlers(tmp_path: Path) -> None:
    assert load_kinds([], tmp_path / "handlers") == {}


def test_a_shipped_kind_is_replaced_only_on_purpose(folder: Path) -> None:
    file = write(folder, "my_demo", "demo")
    with pytest.raises(
        HandlersError, match=r"kind 'demo' is already defined at .*demo\.py:\d+.*replace=True"
    ) as caught:
        load_kinds(SHIPPED, folder)
    assert str(caught.value).startswith(f"{file}:")
    write(folder, "my_demo", "demo", ", replace=True")
    assert load_kinds(SHIPPED, folder)["demo"].module == "my_demo"


def test_replace_works_in_any_order(folder: Path) -> None:
    write(folder, "early_demo", "demo", ", replace=True")
    load_kinds([], folder)
    assert load_kinds(SHIPPED)["demo"].module == "early_demo"


BROKEN = [
    ("def f(:\n", r"broken\.py:1: the file can't be read as Python"),
    ("x = 1\nx / 0\n", r"broken\.py:2: the import failed with ZeroDivisionError"),
    ("\nimport nothing_of_this_name\n", r"broken\.py:2: ModuleNotFoundError: .*; install it"),
    ("import sys\nsys.exit(1)\n", r"broken\.py:2: the file ends the process"),
    (
        "from acked import handler\n\n@handler('Bad Name')\ndef f(ctx, payload): ...\n",
        r"broken\.py:3: the kind's name must",
    ),
    (
        "from acked import handler\n\n@handler('ok', timeout_s=0)\ndef f(ctx, payload): ...\n",
        r"broken\.py:3: timeout_s must",
    ),
    (
        "from acked import handler\n\n@handler('ok')\ndef f(payload): ...\n",
        r"broken\.py:3: f must take exactly the two",
    ),
    ("import json\njson.loads('{')\n", r"broken\.py:2: the import failed with JSONDecodeError"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN)
def test_a_broken_file_is_named_with_its_line_and_leaves_nothing_behind(folder: Path, text: str, message: str) -> None:
    (folder / "broken.py").write_text("" + text)
    with pytest.raises(HandlersError, match=message) as caught:
        load_kinds([], folder)
    assert str(caught.value).startswith(str(folder))
    assert dict(registry) == {}


def test_a_kind_registered_before_the_file_broke_is_forgotten(folder: Path) -> None:
    (folder / "half_way.py").write_text(GOOD.format(kind="half", options="") + "\n1 / 0\n")
    with pytest.raises(HandlersError):
        load_kinds([], folder)
    (folder / "half_way.py").write_text(GOOD.format(kind="half", options="") + "\n# corrected\n")
    assert list(load_kinds([], folder)) == ["half"]


@pytest.mark.parametrize(
    ("name", "message"), [("json", "belongs to .*json"), ("my-jobs", "such as my_jobs.py; rename")]
)
def test_names_that_python_can_not_import_from_there(folder: Path, name: str, message: str) -> None:
    write(folder, name, "k")
    with pytest.raises(HandlersError, match=message):
        load_kinds([], folder)


def test_a_module_that_is_not_there() -> None:
    with pytest.raises(HandlersError, match=r"handler module 'acked\.kinds\.nothing' was not found; check"):
        load_kinds(["acked.kinds.nothing"])
    with pytest.raises(HandlersError, match=r"handler module 'nothing\.at\.all' was not found; check"):
        load_kinds(["nothing.at.all"])


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "handlers"
    file.write_text("")
    with pytest.raises(HandlersError, match="is a file"):
        load_kinds([], file)


def test_a_wrong_allow_list_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACKED_HTTP_CALL_ALLOW", "http://host/")
    with pytest.raises(HandlersError, match="ACKED_HTTP_CALL_ALLOW: 'http://host/' is neither host nor host:port"):
        load_kinds(["acked.kinds.http_call"])


def test_file_without_a_kind_is_named(folder: Path) -> None:
    (folder / "forgotten.py").write_text("def work(ctx, payload): ...\n")
    (folder / "_shared.py").write_text("LIMIT = 3\n")
    write(folder, "a_good", "good")
    (folder / "b_first.py").write_text("import c_imported\n" + GOOD.format(kind="first", options=""))
    write(folder, "c_imported", "imported")
    with capture_logs() as logs:
        assert sorted(load_kinds([], folder)) == ["first", "good", "imported"]
    warned = [line["file"] for line in logs if line["event"] == NO_KIND]
    assert warned == [str(folder / "forgotten.py")]


PARKING = """
import sys
from acked import handler

@handler({kind!r})
async def work(ctx, payload):
    try:
        await ctx.sleep("a", days=1)
    finally:{comment}
        print("cleaned up", file=sys.stderr)
"""


def test_code_that_runs_at_each_park_is_named_by_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a_kind.py").write_text(PARKING.format(kind="a", comment=""))
    (folder / "b_kind.py").write_text(PARKING.format(kind="b", comment="  # acked: runs at each park"))
    (folder / "_helper.py").write_text(PARKING.format(kind="c", comment=""))
    other = folder.parent / "packaged"
    other.mkdir()
    (other / "d_module.py").write_text(PARKING.format(kind="d", comment=""))
    monkeypatch.syspath_prepend(str(other))
    with capture_logs() as logs:
        assert sorted(load_kinds(["d_module"], folder)) == ["a", "b", "d"], "a helper is read, not imported"
    warned = [line["file"] for line in logs if line["event"] == IN_FINALLY]
    assert warned == sorted(
        f"{file}:9" for file in (folder / "_helper.py", folder / "a_kind.py", other / "d_module.py")
    )
    assert {line["log_level"] for line in logs} == {"warning"}


def test_shipped_handlers_do_nothing_at_a_park() -> None:
    with capture_logs() as logs:
        load_kinds(["acked.kinds"])
    assert logs == []


TYPED = """
from __future__ import annotations
import msgspec
from acked import Context, handler

@handler("typed")
async def typed(ctx: Context, payload: Later) -> None: ...

@handler("strange")
async def strange(ctx: Context, payload: Nowhere) -> None: ...

@handler("vast")
async def vast(ctx: Context, payload: Vast) -> None: ...

class Later(msgspec.Struct):
    name: str

Vast = msgspec.defstruct("Vast", [(f"a_field_with_a_long_name_{n}", str) for n in range(1000)])
"""


def test_payload_types_are_derived_once_all_is_imported(folder: Path) -> None:
    (folder / "typed_kinds.py").write_text(TYPED)
    with capture_logs() as logs:
        kinds = load_kinds([], folder)
    typed, strange, vast = kinds["typed"].payload, kinds["strange"].payload, kinds["vast"].payload
    assert typed is not None and typed.schema is not None and "Later" in typed.schema["$defs"]
    # As before: the handler gets what was sent, and the log says why.
    assert strange is None
    assert vast is not None
    assert [(entry["event"], entry["kind"]) for entry in logs] == [(NOT_CHECKED, "strange"), (CHECKED_LATE, "vast")]
    assert "Nowhere" in logs[0]["reason"]
    records = kind_records(kinds, Capacity(slots=8, threads=2, suspects=1), seen_at=datetime.now(UTC))
    assert {name: len(record.schemas) for name, record in records.items()} == {"typed": 1, "strange": 0, "vast": 0}
    assert schema_digests(records).keys() == {"typed"}


def test_a_parser_that_loses_count_stops_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loses_count(_: str) -> list[object]:
        raise SystemError("AST constructor recursion depth mismatch (before=156, after=183)")

    monkeypatch.setattr("acked_worker.handlers.registry.park_hazards", loses_count)
    (tmp_path / "good.py").write_text(GOOD.format(kind="good", options=""))
    assert "good" in load_kinds((), tmp_path)
