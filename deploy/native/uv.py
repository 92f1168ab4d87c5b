"""Run uv with pip's package index of this machine: `python -m deploy.native.uv pip install …`.

uv does not read pip's settings: without this, a machine that reaches packages only through a mirror could not install
any. Settings of uv itself (`UV_*`) win.
"""

import configparser
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.request import url2pathname

from deploy.native.layout import ROOT

UV = ROOT / ".venv" / "bin" / "uv"
_OPTIONS = ("index-url", "extra-index-url", "find-links", "no-index", "cert", "proxy", "trusted-host")


def pip_files(environ: Mapping[str, str]) -> list[Path]:
    """Return pip's configuration files, the strongest last."""
    chosen = environ.get("PIP_CONFIG_FILE", "")
    if chosen == os.devnull:
        return []
    home = Path(environ.get("HOME") or "/nonexistent")
    machine = [Path(folder) / "pip" / "pip.conf" for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")]
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    files = [*machine, Path("/etc/pip.conf"), home / ".pip" / "pip.conf", user / "pip" / "pip.conf"]
    return [*files, Path(chosen)] if chosen else files


def pip_settings(environ: Mapping[str, str], files: Iterable[Path]) -> dict[str, str]:
    """Return pip's settings for package indexes, lists joined with spaces; an unreadable file counts as empty."""
    found: dict[str, str] = {}
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file)
        except (OSError, UnicodeDecodeError, configparser.Error):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                found |= {name.replace("_", "-"): value for name, value in parser.items(section)}
    found |= {name: environ[variable] for name in _OPTIONS if (variable := _variable(name)) in environ}
    return {name: joined for name in _OPTIONS if (joined := " ".join(found.get(name, "").split()))}


def _variable(name: str) -> str:
    return "PIP_" + name.upper().replace("-", "_")


def _present(locations: str) -> list[str]:
    """Drop folders that do not exist: pip skips them, uv refuses them."""
    found = []
    for location in locations.split():
        folder = url2pathname(location.removeprefix("file://")) if location.startswith("file://") else location
        if "://" in folder or Path(folder).exists():
            found.append(location)
    return found


def uv_environment(environ: Mapping[str, str], settings: Mapping[str, str], *, whole_index: bool) -> dict[str, str]:
    """Return uv's environment. `whole_index` omits folders and extra indexes, which may lack files of a release."""
    wanted: dict[str, str] = {}
    if "index-url" in settings and not environ.get("UV_INDEX_URL"):
        wanted["UV_DEFAULT_INDEX"] = settings["index-url"]
    if not whole_index:
        if links := _present(settings.get("find-links", "")):
            wanted["UV_FIND_LINKS"] = ",".join(links)
        if (indexes := _present(settings.get("extra-index-url", ""))) and not environ.get("UV_EXTRA_INDEX_URL"):
            wanted["UV_INDEX"] = " ".join(indexes)
            # As pip does it: all indexes are equal. Hashes say what may be installed.
            wanted["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if "cert" in settings:
        wanted["SSL_CERT_FILE"] = settings["cert"]
    if "proxy" in settings:
        wanted["HTTPS_PROXY"] = wanted["HTTP_PROXY"] = settings["proxy"]
    if "trusted-host" in settings:
        wanted["UV_INSECURE_HOST"] = settings["trusted-host"]
    wanted = {name: value for name, value in wanted.items() if not environ.get(name) and not environ.get(name.lower())}
    return {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", **wanted, **environ}


def uv_command(arguments: Sequence[str], *, whole_index: bool = False) -> tuple[list[str], dict[str, str]]:
    """Return the command line and the environment of a call of uv."""
    settings = pip_settings(os.environ, pip_files(os.environ))
    command = [str(UV), *arguments]
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on") and not whole_index:
        command.append("--no-index")
    return command, uv_environment(os.environ, settings, whole_index=whole_index)


if __name__ == "__main__":
    program, environment = uv_command(sys.argv[1:])
    os.execve(program[0], program, environment)  # noqa: S606 - the program is ours
