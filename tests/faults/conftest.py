"""The ledger's assertions tell what they compared."""

import pytest

pytest.register_assert_rewrite("support.stacks", "faults.ledger")
