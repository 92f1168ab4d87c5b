"""Handlers of invoices."""

from dataclasses import dataclass
from datetime import date

from dateutil.relativedelta import relativedelta

from acked import Context, Permanent, handler


@dataclass
class Invoice:
    """An invoice, and how many months its customer has."""

    number: str
    issued_on: date
    months: int = 1


@dataclass
class Due:
    """When an invoice is due."""

    number: str
    due_on: date


@handler("invoice.due", timeout_s=30)
async def due(ctx: Context, payload: Invoice) -> Due:
    """Return the last day of the month in which an invoice is due."""
    if payload.months < 0:
        raise Permanent("an invoice can't be due before it was issued", type="negative-months")
    ctx.log.info("invoice is read", number=payload.number)
    return Due(payload.number, payload.issued_on + relativedelta(months=payload.months, day=31))
