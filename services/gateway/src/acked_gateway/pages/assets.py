"""OWNER of the files that pages load: their names, their versions and their bytes, read once at start.

Each asset has a second name with a digest of its content, such as `app.3f2a91c0d4.css`. Browsers keep it for a year,
because other content has another name. The shell and the modules name each other by it: the digest of a module covers
the names of what it imports, so a change reaches all modules that lead to it.
"""

import gzip
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import resources
from importlib.metadata import distribution
from pathlib import Path

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

PLOT_CARRIER = "metaflow-card-uplot"
"""The distribution that carries uPlot, minified and without dependencies. Its files are read, never imported."""
PLOT_FOLDER = "metaflow_extensions/card_uplot/plugins/cards/uplot/uplot"
PLOT_SCRIPT = "uplot.js"
PLOT_STYLE = "uplot.css"
_CARRIED = {PLOT_SCRIPT: "uPlot.iife.min.js", PLOT_STYLE: "uPlot.min.css"}
# The carried script declares a variable; as a module it has to export it.
_AS_MODULE = b"\nexport default uPlot;\n"

_DIGEST_CHARS = 10
# Whole lines of comments and indentation are a fifth of the compressed scripts; no string of ours spans lines.
_COMMENT = re.compile(rb"^[ \t]*//[^\n]*\n", re.MULTILINE)
_INDENT = re.compile(rb"^[ \t]+", re.MULTILINE)
_IMPORT = re.compile(rb"""((?:\bfrom|\bimport)\s*\(?\s*)"\./([a-z0-9_]+\.js)\"""")


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, with its imports by versioned name."""

    name: str
    versioned: str
    media_type: str
    body: bytes
    compressed: bytes
    """With gzip; compressed once, because it is sent with each first visit."""


def static(name: str) -> bytes:
    """Return a file of `static/` as it is."""
    return resources.files(__package__).joinpath("static", name).read_bytes()


@cache
def assets() -> Mapping[str, Asset]:
    """Return all assets by their plain names. Raise ValueError for a circular or unknown import."""
    sources = _sources()
    made: dict[str, Asset] = {}
    for name in sources:
        _make(name, sources, made, ())
    return made


def find(name: str) -> tuple[Asset, bool] | None:
    """Return an asset by its plain or a versioned name, and whether the name is that of this very content.

    During an upgrade, a page of the previous version may request its own names: it gets the current content.
    """
    found = assets().get(name)
    if found is not None:
        return found, False
    stem, _, rest = name.partition(".")
    _, _, suffix = rest.rpartition(".")
    found = assets().get(f"{stem}.{suffix}")
    return None if found is None else (found, found.versioned == name)


def _sources() -> dict[str, bytes]:
    folder = resources.files(__package__).joinpath("static")
    names = sorted(entry.name for entry in folder.iterdir() if Path(entry.name).suffix in MEDIA_TYPES)
    sources = {name: static(name) for name in names}
    carrier = distribution(PLOT_CARRIER)
    for name, carried in _CARRIED.items():
        sources[name] = Path(str(carrier.locate_file(f"{PLOT_FOLDER}/{carried}"))).read_bytes()
    sources[PLOT_SCRIPT] += _AS_MODULE
    return sources


def _make(name: str, sources: Mapping[str, bytes], made: dict[str, Asset], above: tuple[str, ...]) -> Asset:
    if name in made:
        return made[name]
    if name in above or name not in sources:
        raise ValueError(f"{' -> '.join((*above, name))}: the import is {'circular' if name in above else 'unknown'}")

    def versioned_import(match: re.Match[bytes]) -> bytes:
        imported = _make(match[2].decode(), sources, made, (*above, name))
        return match[1] + b'"./' + imported.versioned.encode() + b'"'

    body = sources[name]
    stem, suffix = name.rsplit(".", 1)
    if suffix == "js" and name != PLOT_SCRIPT:
        body = _IMPORT.sub(versioned_import, _INDENT.sub(b"", _COMMENT.sub(b"", body)))
    versioned = f"{stem}.{sha256(body).hexdigest()[:_DIGEST_CHARS]}.{suffix}"
    compressed = gzip.compress(body, compresslevel=9, mtime=0)
    made[name] = Asset(name, versioned, MEDIA_TYPES["." + suffix], body, compressed)
    return made[name]
