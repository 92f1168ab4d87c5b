"""A shop whose handler breaks at night: its handlers, whole and broken, for the tests and the pictures of the pages."""

from pathlib import Path

from support.stacks import TestStack

KINDS = ("invoice", "mail", "report")
BREAKS = "invoice"

_HANDLERS = '''"""The shop's handlers."""

from acked import handler

CUSTOMERS = {{"4711": "Ada"}}


@handler("mail", max_attempts=3)
async def mail(ctx, payload):
    """Send a mail."""
    return {{"sent": True}}


@handler("report", max_attempts=3)
async def report(ctx, payload):
    """Build a report."""
    ctx.progress(0.5, "half of the rows")
    return {{"rows": 128}}


@handler("invoice", max_attempts=2, backoff_base_s=0.05, backoff_cap_s=0.1)
async def invoice(ctx, payload):
    """Print an invoice."""
    number = str(payload.get("customer", "4711"))
    {line}
    return {{"invoice_for": customer}}
'''

WORKS = 'customer = CUSTOMERS.get(number, "a new customer")'
BROKEN = "customer = CUSTOMERS[number]"


def write_handlers(folder: Path, line: str) -> None:
    """Write the handlers with one line of the invoice: `WORKS` or `BROKEN`."""
    folder.mkdir(exist_ok=True)
    (folder / "shop.py").write_text(_HANDLERS.format(line=line))


def deploy(stack: TestStack, folder: Path, line: str) -> None:
    """Release handlers: write them and replace the workers, as an operator does."""
    write_handlers(folder, line)
    stack.stack.restart(["worker"])
