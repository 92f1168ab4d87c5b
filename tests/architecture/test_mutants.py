"""Every mutant of `./just mutants` still says what it changes, and which tests must notice."""

import ast
from collections import Counter

import pytest

from mutants.catalogue import ROOT, Mutant, mutated, read_mutants

MUTANTS = read_mutants()


def test_catalogue_holds_many_mutants_of_different_names() -> None:
    assert len(MUTANTS) >= 30
    assert [name for name, count in Counter(mutant.name for mutant in MUTANTS).items() if count > 1] == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_applies_to_the_code_and_names_its_tests(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text()
    changed = mutated(text, mutant)
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(text)), "it changes nothing that runs"
    assert mutant.tests, "it names no test"
    for test in mutant.tests:
        path, _, name = test.partition("::")
        assert (ROOT / path).exists(), path
        assert not name or f"def {name.partition('[')[0]}(" in (ROOT / path).read_text(), test
    assert mutant.why.endswith("."), "why is a sentence"
