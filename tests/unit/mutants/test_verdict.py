"""Whether a mutant is noticed: pytest runs over a small checkout, in which one module has the change."""

from pathlib import Path

import pytest

from mutants import __main__ as program
from mutants.catalogue import Mutant

MODULE = "double.py"
TEXT = "def double(n: int) -> int:\n    return 2 * n\n"
OWN, OTHER = "tests/test_own.py", "tests/unit/test_other.py"


@pytest.fixture
def tests(tmp_path: Path) -> program.Tests:
    """A checkout whose own test knows double(2) alone, and whose unit tests know double(3) too."""
    copy = tmp_path / "checkout"
    (copy / "tests" / "unit").mkdir(parents=True)
    (tmp_path / "tmp").mkdir()
    # Plugins take longer to load than these tests to run.
    found = program.Tests(copy, {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})
    found.write(MODULE, TEXT)
    for name, n in ((OWN, 2), (OTHER, 3)):
        found.write(name, f"from double import double\n\n\ndef test_it():\n    assert double({n}) == {2 * n}\n")
    return found


def told(tests: program.Tests, new: str, *names: str, within_s: float = program.WITHIN_S) -> tuple[bool, str]:
    """The verdict on a change, behind which the file is as before."""
    mutant = Mutant("one", "It is wrong.", MODULE, "return 2 * n", new, names or (OWN,))
    try:
        return program.verdict(tests, mutant, within_s)
    finally:
        assert tests.read(MODULE) == TEXT


def test_failing_test_of_its_own_is_named(tests: program.Tests) -> None:
    assert told(tests, "return 3 * n") == (True, f"{OWN}::test_it")


def test_what_its_own_pass_over_goes_through_unit_tests(tests: program.Tests) -> None:
    assert told(tests, "return 2 + n") == (True, f"{OTHER}::test_it")


def test_change_that_no_test_sees_survives(tests: program.Tests) -> None:
    assert told(tests, "return n + n") == (False, "no test notices it")


def test_run_that_does_not_end_is_noticed(tests: program.Tests) -> None:
    assert told(tests, "while True:\n    pass", within_s=2.0) == (True, f"not done within 2 s: {OWN}")


def test_tests_that_are_not_there_give_no_verdict(tests: program.Tests) -> None:
    with pytest.raises(program.CannotRun, match="one: pytest ended with"):
        told(tests, "return 3 * n", "tests/test_gone.py")
