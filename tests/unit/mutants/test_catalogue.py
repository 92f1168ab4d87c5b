"""A mutant replaces its lines wherever they stand, and is refused where they are not, or twice."""

from pathlib import Path

import pytest

from mutants.__main__ import chosen, first_failed
from mutants.catalogue import DoesNotApply, Mutant, mutated, read_mutants

TEXT = """def first():
    if there:
        go()
        stay()


def second():
    go()
"""


def mutant(old: str, new: str = "", name: str = "one") -> Mutant:
    return Mutant(name, "It is wrong.", "a.py", old, new, ("tests/unit",))


@pytest.mark.parametrize("old", ["stay()", "    stay()", "\n        stay()\n"])
def test_lines_are_found_at_any_indentation(old: str) -> None:
    assert mutated(TEXT, mutant(old, "leave()")) == TEXT.replace("stay", "leave")


def test_new_lines_get_the_indentation_of_the_old_ones() -> None:
    changed = mutated(TEXT, mutant("go()\nstay()", "if late:\n    go()\nstay()"))
    assert changed == TEXT.replace("        go()\n        stay", "        if late:\n            go()\n        stay")


def test_block_may_begin_deeper_than_it_ends() -> None:
    text = "try:\n    go()\nfinally:\n    stay()\n"
    changed = mutated(text, mutant("    go()\nfinally:", "    run()\nfinally:"))
    assert changed == text.replace("go", "run")


def test_lines_that_are_replaced_by_nothing_are_gone() -> None:
    assert mutated(TEXT, mutant("stay()")) == TEXT.replace("        stay()\n", "")


def test_block_matches_with_its_inner_indentation() -> None:
    assert "return" in mutated(TEXT, mutant("if there:\n    go()", "return"))
    with pytest.raises(DoesNotApply):
        mutated(TEXT, mutant("if there:\ngo()"))


@pytest.mark.parametrize(("old", "times"), [("go()", 2), ("run()", 0), ("ay()", 0), ("go()\n\n\nstay()", 0)])
def test_lines_that_are_not_there_once_are_refused(old: str, times: int) -> None:
    with pytest.raises(DoesNotApply, match=f"{times} times in a.py"):
        mutated(TEXT, mutant(old))


def test_mutant_without_lines_is_refused() -> None:
    with pytest.raises(DoesNotApply, match="no lines"):
        mutated(TEXT, mutant("\n"))


def test_unknown_field_of_an_entry_is_refused(tmp_path: Path) -> None:
    entry = '[a]\nwhy = "W."\nfile = "a.py"\nold = "x"\nnew = "y"\ntests = ["t"]\n'
    (tmp_path / "a.toml").write_text(entry)
    assert read_mutants(tmp_path) == [Mutant("a", "W.", "a.py", "x", "y", ("t",))]
    (tmp_path / "a.toml").write_text(entry + "test = []\n")
    with pytest.raises(TypeError):
        read_mutants(tmp_path)


def test_mutants_are_chosen_by_name_and_by_text() -> None:
    both = [mutant("x", name="one"), mutant("x", name="two")]
    assert chosen(both, [], "") == chosen(both, [], "a.p") == both
    assert chosen(both, ["two"], "") == chosen(both, [], "tw") == both[1:]
    with pytest.raises(SystemExit, match="three"):
        chosen(both, ["three"], "")


def test_failed_test_is_told_from_logged_errors() -> None:
    output = (
        "ERROR    pymongo.client:logger.py:108 an error\nFAILED to start\n"
        "FAILED tests/unit/a.py::test_b[cut off-1] - AssertionError: x - y\nFAILED tests/unit/a.py::test_c\n"
    )
    assert first_failed(output) == "tests/unit/a.py::test_b[cut off-1]"
    assert first_failed("FAILED tests/unit/a.py::test_c") == "tests/unit/a.py::test_c"
