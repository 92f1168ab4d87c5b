"""Options of `./just soak`: refused before a stack starts."""

import pytest

from faults.soak import MOST_KILLS, MOST_MINUTES, options


def test_soak_options_have_defaults_and_limits() -> None:
    asked = options([])
    assert (asked.minutes, asked.kills, asked.rate) == (60.0, 0, 300.0)
    asked = options(["--minutes", f"{MOST_MINUTES:g}", "--kills", str(MOST_KILLS), "--rate", "0.5", "--seed", "7"])
    assert (asked.minutes, asked.kills, asked.rate, asked.seed) == (MOST_MINUTES, MOST_KILLS, 0.5, 7)


@pytest.mark.parametrize("value", ["nan", "NaN", "inf", "-inf", "0", "-1", "1e400", "soon", "", "20161"])
def test_soak_minutes_that_never_end_or_begin_are_refused(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        options([f"--minutes={value}"])
    assert refused.value.code == 2
    said = capsys.readouterr().err
    assert "--minutes" in said
    assert f"{value!r}: give a number of minutes above 0, at most 20160" in said


@pytest.mark.parametrize("value", ["nan", "-1", "1.5", "100001", "9" * 20, "²"])
def test_soak_kills_that_are_no_count_are_refused(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        options([f"--kills={value}"])
    assert refused.value.code == 2
    assert "give a whole number of kills from 0 to 100000" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["nan", "inf", "0", "-5"])
def test_soak_rate_that_sends_nothing_is_refused(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        options([f"--rate={value}"])
    assert refused.value.code == 2
    assert "give a number of requests a second above 0" in capsys.readouterr().err
