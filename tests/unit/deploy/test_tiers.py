"""The second tier runs all of its parts and fails with the first one that did."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from deploy.tiers import FULL, ROOT, Part, main, run


def test_a_tier_goes_on_after_a_failure(capfd: pytest.CaptureFixture[str]) -> None:
    missing = Part("missing", "deploy.there_is_no_such_module")
    version = Part("version", "pytest", ("--version",))
    assert run((missing, version)) == 1
    out = capfd.readouterr().out.splitlines()
    assert out[-2].startswith("missing        FAILED in")
    assert out[-1].startswith("version        passed in")


def test_every_part_of_the_full_tier_is_there() -> None:
    for part in FULL:
        path = Path(*part.module.split("."))
        where = ROOT / "tests" / path if part.needs_tests else ROOT / path
        assert where.with_suffix(".py").is_file() or (where / "__main__.py").is_file(), part
        assert part.needs_tests or find_spec(part.module) is not None


def test_a_tier_with_options_starts_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == "just test full: takes no options, and not '--help'\n"
