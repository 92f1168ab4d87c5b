"""Handlers run without a worker: `python -m pytest`."""

from datetime import date

import pytest
from invoices import Due, Invoice, due

from acked import Permanent
from acked.testing import RecordingAttempt


async def test_invoice_is_due_at_the_end_of_the_month() -> None:
    attempt = RecordingAttempt()
    found = await due(attempt.context, Invoice("7", date(2027, 1, 31)))
    assert found == Due("7", date(2027, 2, 28))


async def test_invoice_can_not_be_due_before_it_was_issued() -> None:
    with pytest.raises(Permanent, match="before it was issued"):
        await due(RecordingAttempt().context, Invoice("7", date(2027, 1, 31), months=-1))
