"""The assets of pages: complete, versioned by content, compressed, and small."""

import gzip
import re
from hashlib import sha256
from importlib import resources
from importlib.metadata import distribution
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import Response

from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_gateway.pages import assets as assets_module
from acked_gateway.pages.assets import MEDIA_TYPES, PLOT_CARRIER, PLOT_FOLDER, assets, find
from acked_gateway.pages.routes import page_routes
from support.asgi import Answer, call

MOST_SCRIPT_BYTES = 47 * 1024
"""Of one page: a KB above the largest one, so that it can't grow unnoticed."""
MOST_BYTES_IN_ALL = 127 * 1024
"""Of all scripts of all pages, which are compressed one by one; docs/dashboard.md says what a bundler would save."""
DOCUMENTED_WITHIN_KB = 1.5
ROOT = Path(__file__).resolve().parents[4]
CARRIED = {
    "uPlot.iife.min.js": "addc030d2f1268dbee42ef31f7173b624b87443277163b04651490705dce7397",
    "uPlot.min.css": "37d952f00df006ceab033267e05f050cedd8d6906467cc86525dee795dcfa6a9",
}
IMMUTABLE = "public, max-age=31536000, immutable"


@pytest.fixture(scope="module")
def app() -> Starlette:
    return Starlette(
        routes=[*page_routes(lambda _: Response(b"shell", media_type="text/html"))],
        exception_handlers=dict(EXCEPTION_HANDLERS),
    )


async def get(app: Starlette, name: str, encoding: str = "gzip") -> Answer:
    return await call(app, "GET", f"/pages/{name}", headers={"accept-encoding": encoding})


@pytest.mark.parametrize("name", sorted(assets()))
async def test_each_asset_is_served_under_its_versioned_name(app: Starlette, name: str) -> None:
    asset = assets()[name]
    answer = await get(app, asset.versioned, "identity")
    assert (answer.status, answer.body) == (200, asset.body)
    assert answer.headers["content-type"] == MEDIA_TYPES["." + name.rsplit(".", 1)[1]]
    assert answer.headers["cache-control"] == IMMUTABLE
    assert asset.versioned != name
    plain = await get(app, name, "identity")
    assert (plain.body, plain.headers["cache-control"]) == (asset.body, "no-cache")


def test_every_file_of_the_folder_is_served_or_the_shell() -> None:
    files = {entry.name for entry in resources.files("acked_gateway.pages").joinpath("static").iterdir()}
    assert files == {*assets(), "shell.html"} - {"uplot.js", "uplot.css"}


async def test_name_of_an_older_version_gets_the_present_content_uncached(app: Starlette) -> None:
    answer = await get(app, "app.0123456789.css", "identity")
    assert (answer.status, answer.body) == (200, assets()["app.css"].body)
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "name",
    [
        *("nothing.js", "shell.html", "load_test.html", "__init__.py", "assets.py", "app", ".css", "app.css.map"),
        *("..%2Fassets.py", "%2Fetc%2Fpasswd", "app.css%00"),
    ],
)
async def test_nothing_else_is_served(app: Starlette, name: str) -> None:
    assert (await get(app, name)).status == 404


@pytest.mark.parametrize(
    ("encoding", "is_compressed"),
    [
        ("gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("br;q=1.0, gzip;q=0.5", True),
        ("x-gzip", True),
        ("gzip;q=0.001", True),
        ("GZIP", True),
        ("", False),
        ("identity", False),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip;q=0.0, br", False),
        ("notgzip", False),
    ],
)
async def test_gzip_is_sent_where_the_client_accepts_it(app: Starlette, encoding: str, is_compressed: bool) -> None:
    answer = await get(app, "main.js", encoding)
    assert answer.headers["vary"] == "Accept-Encoding"
    assert (answer.headers.get("content-encoding") == "gzip") is is_compressed
    body = gzip.decompress(answer.body) if is_compressed else answer.body
    assert body == assets()["main.js"].body


async def test_icon_is_served_where_browsers_ask_for_it(app: Starlette) -> None:
    answer = await call(app, "GET", "/favicon.ico")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/svg+xml")


def test_carried_plot_library_is_the_one_that_was_read() -> None:
    carrier = distribution(PLOT_CARRIER)
    for name, digest in CARRIED.items():
        content = carrier.locate_file(f"{PLOT_FOLDER}/{name}").read_bytes()  # type: ignore[union-attr, unused-ignore]
        assert sha256(content).hexdigest() == digest, "another version: read it before this digest is changed"
    script = assets()["uplot.js"].body
    assert sha256(script.removesuffix(b"\nexport default uPlot;\n")).hexdigest() == CARRIED["uPlot.iife.min.js"]


def imported(name: str, pattern: str) -> set[str]:
    """Return the plain names that a script imports where a pattern with one group matches."""
    plain = {asset.versioned: asset.name for asset in assets().values()}
    return {plain[versioned] for versioned in re.findall(pattern, assets()[name].body.decode())}


def loaded(*names: str) -> set[str]:
    """Return the scripts that a browser loads for these, with all that they import."""
    found: set[str] = set()
    left = [*names]
    while left:
        if (name := left.pop()) not in found:
            found.add(name)
            left += imported(name, r'\b(?:from|import)\s*"\./([^"]+)"')
    return found


VIEWS = sorted(imported("main.js", r'\bimport\(\s*"\./([^"]+)"'))


def test_views_are_all_there() -> None:
    assert {"overview.js", "attention.js", "jobs.js", "job.js", "load_test.js"} <= {*VIEWS}
    assert loaded("main.js", *VIEWS) == {name for name in assets() if name.endswith(".js")}, "no script is left over"


@pytest.mark.parametrize("view", VIEWS)
def test_all_scripts_of_a_page_stay_small(view: str) -> None:
    sizes = {name: len(assets()[name].compressed) for name in loaded("main.js", view)}
    assert sum(sizes.values()) <= MOST_SCRIPT_BYTES, sizes


def test_scripts_of_all_pages_together_stay_small() -> None:
    sizes = {name: len(assets()[name].compressed) for name in loaded("main.js", *VIEWS)}
    assert sum(sizes.values()) <= MOST_BYTES_IN_ALL, sorted(sizes.items(), key=lambda one: -one[1])


def test_documents_say_what_each_page_loads() -> None:
    documented = {
        name: int(kb)
        for name, kb in re.findall(r"(?m)^\| ([\w ]+) \| (\d+) KB \|$", (ROOT / "docs" / "dashboard.md").read_text())
    }
    scripts = {view: loaded("main.js", view) for view in VIEWS} | {"all pages together": loaded("main.js", *VIEWS)}
    sizes = {
        name.removesuffix(".js").replace("_", " "): sum(len(assets()[one].compressed) for one in names) / 1024
        for name, names in scripts.items()
    }
    assert {name.lower() for name in documented} == {*sizes}
    wrong = {
        name: round(sizes[name.lower()])
        for name, kb in documented.items()
        if abs(kb - sizes[name.lower()]) > DOCUMENTED_WITHIN_KB
    }
    assert not wrong, "docs/dashboard.md: these pages load another number of KB"


def test_version_changes_with_what_a_module_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: asset.versioned for name, asset in assets().items()}
    sources = assets_module._sources()
    changed = {**sources, "token.js": sources["token.js"] + b'export const more = "";\n'}
    monkeypatch.setattr(assets_module, "_sources", lambda: changed)
    after = {name: asset.versioned for name, asset in assets.__wrapped__().items()}
    assert {name for name in before if before[name] != after[name]} >= {"token.js", "api.js", "main.js"}
    assert {before[name] == after[name] for name in ("uplot.js", "app.css", "config.js")} == {True}


@pytest.mark.parametrize(
    ("sources", "says"),
    [
        ({"a.js": b'import "./b.js";', "b.js": b'import "./a.js";'}, "circular"),
        ({"a.js": b'import { x } from "./gone.js";'}, "unknown"),
    ],
)
def test_import_that_can_not_be_versioned_is_refused(
    monkeypatch: pytest.MonkeyPatch, sources: dict[str, bytes], says: str
) -> None:
    monkeypatch.setattr(assets_module, "_sources", lambda: sources)
    with pytest.raises(ValueError, match=says):
        assets.__wrapped__()


def test_find_tells_versions_apart() -> None:
    asset = assets()["app.css"]
    assert find("app.css") == (asset, False)
    assert find(asset.versioned) == (asset, True)
    assert find("app.0000000000.css") == (asset, False)
    assert find("other.0000000000.css") is None
