"""Each package declares what it imports: installed alone into an empty environment, all of its modules import."""

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.native.layout import ROOT
from deploy.native.uv import uv_command

COMMON = "libs/common"
HANDLERS = "libs/acked"
CLIENT = "libs/client"
CLI = "libs/cli"
PACKAGES = {
    "acked": [HANDLERS],
    "acked.testing": [HANDLERS, COMMON],
    "acked_client": [CLIENT],
    "acked_cli": [CLI, CLIENT],
    "acked_common": [COMMON],
    "acked_intake": ["services/intake", COMMON],
    "acked_gateway": ["services/gateway", COMMON],
    "acked_worker": ["services/worker", COMMON, HANDLERS],
}
"""The members that each package consists of; everything else comes from its declared dependencies."""
TYPED = ("acked", "acked_client")
"""What users import."""
OPTIONAL = ("acked.testing.", "acked_common.outcomes", "acked_cli.tui.screen")
"""Modules that need an extra of their package. The kit imports them all."""

IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
names = [found.name for found in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
left_out = tuple(name for name in sys.argv[2:] if not sys.argv[1].startswith(name.rstrip(".")))
for name in names:
    if name.startswith(left_out):
        continue
    # What runs as a program ends the process when it is imported.
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(len(names))
"""


def uv(*arguments: str) -> None:
    command, environ = uv_command(arguments)
    done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_installed_alone_imports(package: str, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    python = environment / "bin" / "python"
    uv("venv", "--quiet", "--python", sys.executable, str(environment))
    members = [str(ROOT / member) for member in PACKAGES[package]]
    # In the versions of the lock, but only what these members ask for.
    uv("pip", "install", "--quiet", "--python", str(python), "--constraint", "requirements.lock", *members)
    # Isolated: no path but the environment's own.
    done = subprocess.run(
        [str(python), "-I", "-c", IMPORT_ALL, package, *OPTIONAL],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 5
    listed = subprocess.run(
        [str(python), "-I", "-c", f"import {package}; print({package}.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    installed = Path(listed.stdout.strip()).parent
    assert installed.is_relative_to(environment), "not from this checkout"
    if package in TYPED:
        assert (installed / "py.typed").exists(), "type checkers of users read it"


def test_every_member_is_installed_alone() -> None:
    members = {str(path.parent.relative_to(ROOT)) for path in ROOT.glob("*/*/pyproject.toml")}
    assert {paths[0] for paths in PACKAGES.values()} == members
