"""Write records to standard output, and what people read to standard error."""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import IO, Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from acked_cli.output.columns import NEVER_CUT, OF_RECORDS, shown
from acked_cli.output.safe_text import safe, safe_json, safe_lines
from acked_client import State

TABLE_ROWS = 1_000
"""Rows that one table holds; a longer list is several tables, so that its first rows are shown early."""
TABLE_WIDTH = 2_000
"""A table is as wide as its columns. A narrower terminal wraps its lines, and nothing of an id is lost."""
PIPE_WIDTH = 240
"""Of one record that is not shown on a terminal."""
MOST_WIDTH = 60
"""Of a column that people don't copy; `show` has its whole text."""
_STYLES: Mapping[str, str] = {
    State.SUCCEEDED: "green",
    State.FAILED: "red",
    State.CANCELLED: "yellow",
    State.RUNNING: "cyan",
    "ok": "green",
    "warning": "yellow",
    "error": "red",
}


class Format(StrEnum):
    """How records are written."""

    TABLE = "table"
    NDJSON = "ndjson"
    JSON = "json"


@dataclass(slots=True)
class Writer:
    """Writes records of one command; `record` names their columns. Records are structs or mappings."""

    format: Format
    out: IO[str] = field(default_factory=lambda: sys.stdout)
    err: IO[str] = field(default_factory=lambda: sys.stderr)

    def one(self, record: str, item: Any, *, also: Iterable[str] = ()) -> None:
        """Write one record. A table shows its columns as rows, and the further members of `also`."""
        if self.format is not Format.TABLE:
            self._json(_plain(item))
            return
        row = _row(item)
        pairs = {title: cell(row) for title, cell in OF_RECORDS[record].items()}
        pairs |= {name: row.get(name) for name in also}
        table = Table.grid(padding=(0, 2))
        for title, value in pairs.items():
            if value not in (None, "", [], {}):
                table.add_row(Text(title, style="bold"), _cell(title, value, is_wide=True))
        self._console().print(table)

    def many(self, record: str, items: Iterable[Any], *, title: str | None = None) -> int:
        """Write records as they come, and return their number. `json` writes one array."""
        if self.format is Format.TABLE:
            return self._tables(record, items, title)
        if self.format is Format.JSON:
            found = [_plain(item) for item in items]
            self._json(found)
            return len(found)
        count = 0
        for count, item in enumerate(items, 1):  # noqa: B007 - the number is what is left of the loop
            self._json(_plain(item))
        return count

    def line(self, record: str, item: Any) -> None:
        """Write one record of a stream at once: a line, in a table too."""
        if self.format is not Format.TABLE:
            self._json(_plain(item))
            return
        row = _row(item)
        cells = [_cell(title, cell(row)) for title, cell in OF_RECORDS[record].items()]
        self._console().print(Text("  ").join(cells), soft_wrap=True)
        self.out.flush()

    def block(self, title: str, text: str) -> None:
        """Write a titled text of several lines on a table's place; nothing in JSON, whose record has it."""
        if self.format is not Format.TABLE:
            return
        console = self._console()
        console.print(Text(f"\n{title}", style="bold"))
        for line in safe_lines(text):
            console.print(Text(line), soft_wrap=True)

    def note(self, text: str) -> None:
        """Tell people something, on standard error."""
        self.err.write(f"{safe(text)}\n")
        self.err.flush()

    def progress(self, text: str | None) -> None:
        """Show how far a command is, on a terminal alone; None removes the line. The cursor is never hidden."""
        if self.err.isatty():
            self.err.write(f"\r\x1b[K{'' if text is None else safe(text)}")
            self.err.flush()

    def _tables(self, record: str, items: Iterable[Any], title: str | None) -> int:
        rest, count = iter(items), 0
        while chunk := list(islice(rest, TABLE_ROWS)):
            self._console(TABLE_WIDTH).print(_table(record, chunk, title))
            count += len(chunk)
        return count

    def _console(self, width: int | None = None) -> Console:
        if width is None and not self.out.isatty():
            width = PIPE_WIDTH
        return Console(file=self.out, width=width, highlight=False, markup=False, emoji=False, legacy_windows=False)

    def _json(self, value: Any) -> None:
        if self.format is Format.JSON:
            text = json.dumps(value, ensure_ascii=False, indent=2)
        else:
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        self.out.write(f"{safe_json(text)}\n")
        self.out.flush()


def _table(record: str, items: Iterable[Any], title: str | None) -> Table:
    table = Table(box=None, pad_edge=False, title=title, title_justify="left", title_style="bold", header_style="bold")
    columns = OF_RECORDS[record]
    for name in columns:
        table.add_column(name, no_wrap=True, overflow="ellipsis", max_width=None if name in NEVER_CUT else MOST_WIDTH)
    for item in items:
        row = _row(item)
        table.add_row(*(_cell(name, cell(row)) for name, cell in columns.items()))
    return table


def _cell(title: str, value: object, *, is_wide: bool = False) -> Text:
    text = safe(shown(value))
    style = _STYLES.get(text, "") if title in ("state", "outcome") else ""
    return Text(text, style=style, overflow="fold" if is_wide else None)


def _row(item: Any) -> Mapping[str, Any]:
    """Return a record as a mapping, its instants as such, for tables."""
    found: Mapping[str, Any] = msgspec.to_builtins(item, builtin_types=_INSTANTS)
    return found


def _plain(item: Any) -> Any:
    return msgspec.to_builtins(item)


_INSTANTS = (datetime,)
