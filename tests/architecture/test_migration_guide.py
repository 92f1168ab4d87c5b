"""The code of docs/from-celery.md is that of the examples, which a test runs."""

import re
from itertools import chain
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCKS = re.findall(r"^```python\n(.*?)^```", (DOCS / "from-celery.md").read_text(), re.DOTALL | re.MULTILINE)
EXAMPLES = [
    path.read_text()
    for path in chain.from_iterable(
        (DOCS / "examples" / folder).rglob("*.py") for folder in ("celery_app", "celery_twin")
    )
]


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_code_of_the_guide_stands_in_an_example(number: int) -> None:
    assert any(BLOCKS[number] in text for text in EXAMPLES), BLOCKS[number]


def test_guide_has_code() -> None:
    assert len(BLOCKS) >= 10
