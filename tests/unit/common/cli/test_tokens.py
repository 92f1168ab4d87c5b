"""The command line of `./just token`: what it takes, and what it refuses with the bound."""

import pytest

from acked_common.cli.tokens import parse_arguments
from acked_common.model.tokens import MAX_DAYS

MAKE = ("make", "--client", "billing", "--may", "read")


@pytest.mark.parametrize(("text", "days"), [("90", 90.0), ("0.5", 0.5), ("1.2e-5", 1.2e-5), ("3650", MAX_DAYS)])
def test_days_are_a_number_within_bounds(text: str, days: float) -> None:
    assert parse_arguments([*MAKE, "--days", text]).days == days


@pytest.mark.parametrize(
    "text",
    [
        "nan",
        "inf",
        "-inf",
        "-1",
        "0",
        "1e-9",
        "1e300",
        "3651",
        "1_0",
        " 5",
        "+5",
        "٣",
        "0x10",
        "",
        "ninety",
        "9" * 5000,
    ],
)
def test_other_days_are_refused_with_the_bounds(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments([*MAKE, f"--days={text}"])
    assert "not a number of days from 0.000012 (a second) to 3,650" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more", [("--may", "submit"), ("--days", "1", "--days", "2"), ("--client", "x"), ("--tenant", "a", "--tenant", "b")]
)
def test_option_that_stands_twice_is_refused(more: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments([*MAKE, *more])
    assert "appears more than once" in capsys.readouterr().err


def test_the_same_words_are_taken_by_the_next_command() -> None:
    for _ in range(2):
        assert parse_arguments([*MAKE, "--days", "1", "--replace"]).replace
