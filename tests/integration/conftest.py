"""The order of the modules."""

import pytest

from support.order import rank


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest modules begin."""
    items.sort(key=lambda item: rank(item.path))
