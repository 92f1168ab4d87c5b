"""The recipes' own token: made when one is asked for, used again, and made anew when it holds no longer."""

import stat
from pathlib import Path
from typing import Any

import pytest

from deploy.native.__main__ import parse_arguments
from deploy.operator_token import OperatorToken


class Gateway:
    """Answers as a gateway that lets one token in."""

    def __init__(self, lets_in: str | None) -> None:
        self.lets_in = lets_in
        self.asked: list[str] = []

    def __call__(self, headers: dict[str, str]) -> tuple[int, Any]:
        shown = headers.get("Authorization", "").removeprefix("Bearer ")
        self.asked.append(shown)
        return (200, "fine") if self.lets_in in (None, shown) else (401, "who?")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "secret" / "operator-token"


def test_where_nobody_asks_none_is_made(file: Path) -> None:
    token = OperatorToken(file, lambda: pytest.fail("none is needed"))
    assert token.asked(Gateway(None)) == (200, "fine")
    assert not file.exists()


def test_it_is_made_once_for_its_owner_alone_and_used_again(file: Path) -> None:
    made: list[str] = []

    def make() -> str:
        made.append(f"token-{len(made)}")
        return made[-1]

    gateway = Gateway("token-0")
    assert OperatorToken(file, make).asked(gateway) == (200, "fine")
    assert OperatorToken(file, make).asked(gateway) == (200, "fine")
    assert gateway.asked == ["", "token-0", "token-0"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    gateway.lets_in = "token-1"
    assert OperatorToken(file, make).asked(gateway) == (200, "fine"), "a revoked one is replaced"
    assert made == ["token-0", "token-1"]


def test_it_does_not_try_for_ever(file: Path) -> None:
    gateway = Gateway("another")
    assert OperatorToken(file, lambda: "wrong").asked(gateway) == (401, "who?")
    assert gateway.asked == ["", "wrong"]


def test_the_recipe_passes_everything_on() -> None:
    words = ["make", "--client", "billing", "--tenant", "acme", "--may", "submit,read"]
    assert parse_arguments(["token", *words]).words == words
    assert parse_arguments(["token"]).words == []
