"""Settings outlive the shell that gave them: a recipe in another shell opens no door."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.native import __main__ as recipes
from deploy.native.layout import Layout, Ports
from deploy.native.stack import Stack, free_port_base
from deploy.settings_file import NAME
from support.stacks import TestStack, never_orphaned


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A shell whose recipes mean a stack of this test, and no stack of this checkout."""
    for name in [name for name in os.environ if name.startswith("ACKED_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ACKED_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(recipes, "keep_runtime", lambda _: None)
    monkeypatch.setattr(recipes, "forget_runtime", lambda: None)
    with never_orphaned(Layout(tmp_path, Ports(8080))):
        yield monkeypatch
        assert recipes.main(["down"]) == 0


@pytest.mark.long
def test_shell_without_a_setting_opens_no_door(
    tmp_path: Path, shell: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = free_port_base()
    shell.setenv("ACKED_PORT_BASE", str(base))
    shell.setenv("ACKED_ACCESS", "tokens")
    assert recipes.main(["up"]) == 0
    assert "ACKED_ACCESS=tokens" in capsys.readouterr().out
    stack = TestStack(Stack(Layout(tmp_path, Ports(base))))

    def asks_for_tokens() -> bool:
        return stack.call("GET", "/jobs").status == 401

    assert asks_for_tokens()
    shell.delenv("ACKED_PORT_BASE")
    shell.delenv("ACKED_ACCESS")
    assert recipes.main(["restart", "gateway"]) == 0
    assert asks_for_tokens(), "another shell says nothing of access"
    # The file is gone, as after a careless clean-up: what runs is kept.
    (tmp_path / NAME).unlink()
    shell.setenv("ACKED_PORT_BASE", str(base))
    assert recipes.main(["up"]) == 0
    assert "ACKED_ACCESS=tokens" in (tmp_path / NAME).read_text()

    capsys.readouterr()
    shell.setenv("ACKED_ACCESS", "off")
    for words in (["restart"], ["up"]):
        assert recipes.main(words) == 1
        assert "ACKED_ACCESS: running with tokens, requested off" in capsys.readouterr().err
    assert "ACKED_ACCESS=tokens" in (tmp_path / NAME).read_text()
    assert asks_for_tokens()
    assert recipes.main(["restart", "--open"]) == 0
    assert not asks_for_tokens()

    shell.setenv("ACKED_ACCESS", "tokens")
    capsys.readouterr()
    assert recipes.main(["up"]) == 1, "what is asked for is not in force"
    told = capsys.readouterr()
    assert "ACKED_ACCESS: running with off, requested tokens" in told.out
    assert "the running stack is more open than its settings; apply them: ./just restart" in told.err
    assert not asks_for_tokens()
    assert recipes.main(["restart", "worker"]) == 1, "a part of the services can't close the door"
