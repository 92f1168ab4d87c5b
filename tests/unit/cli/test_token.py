"""The token: of the environment, or of a file that only its owner can read; never an argument."""

import re
from pathlib import Path

import pytest

from acked_cli.app import build
from support.cli import Server, acked
from support.client_flows import STATUS, status

ID = STATUS["id"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "token"
    made.touch(mode=0o600)
    made.write_text("of-file\n")
    return made


@pytest.mark.parametrize("source", ["environment", "named file", "option"])
def test_token_is_sent(server: Server, file: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    server.on("GET", f"/status/{ID}", status())
    words = ["--token-file", str(file)] if source == "option" else []
    if source != "named file":
        monkeypatch.setenv("ACKED_TOKEN", "of-environment")
    if source == "named file":
        monkeypatch.setenv("ACKED_TOKEN_FILE", str(file))
    assert acked("status", ID, *words).code == 0
    expected = "of-environment" if source == "environment" else "of-file"
    assert server.received[0].headers["authorization"] == f"Bearer {expected}"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
@pytest.mark.parametrize("is_named", [False, True])
def test_file_of_a_wider_mode_is_refused(
    server: Server, file: Path, monkeypatch: pytest.MonkeyPatch, mode: int, is_named: bool
) -> None:
    file.chmod(mode)
    words = [] if is_named else ["--token-file", str(file)]
    if is_named:
        monkeypatch.setenv("ACKED_TOKEN_FILE", str(file))
    ended = acked("status", ID, *words)
    assert (ended.code, server.received) == (2, [])
    assert f"{mode:04o}" in ended.err and f"chmod 600 '{file}'" in ended.err and "of-file" not in ended.err


def test_file_that_is_missing_or_too_large_is_refused(server: Server, file: Path) -> None:
    assert acked("status", ID, "--token-file", f"{file}x").code == 2
    file.write_text("x" * 5_000)
    assert acked("status", ID, "--token-file", str(file)).code == 2


def test_no_verb_takes_a_token_as_an_argument(server: Server) -> None:
    names = [
        command.name or str(command.callback.__name__) for command in build().registered_commands if command.callback
    ]
    assert len(names) > 20
    for name in names:
        found = set(re.findall(r"--[\w-]*token[\w-]*", acked(name, "--help").out))
        assert found == {"--token-file"}, name
