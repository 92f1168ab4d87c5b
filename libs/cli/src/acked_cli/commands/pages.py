"""Write lists, up to the requested length."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

from acked_cli.invocation.verb import Cli


def listed(cli: Cli, record: str, items: Iterable[Any], limit: int | None) -> None:
    """Write the first `limit` items, or all for None, and report if there are more."""
    found = iter(items)
    cli.writer.many(record, found if limit is None else islice(found, limit))
    if limit is not None and next(found, None) is not None:
        cli.writer.note(f"there are more: --limit {limit * 10}, or --all")
