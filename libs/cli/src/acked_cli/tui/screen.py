"""The screen of `acked top`: three tables, filled every two seconds, and an act on the kind under the cursor."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen, Screen
from textual.widgets import DataTable, Footer, Input, Label, Static
from textual.widgets.data_table import RowDoesNotExist

from acked_cli.output.safe_text import safe
from acked_cli.tui.board import Board, KindLine, matching, since, span
from acked_cli.tui.source import BoardSource
from acked_client import AckedError, AttentionGroup, Worker

EVERY_S = 2.0
MOST_ROWS = 200
"""Of each table; a filter finds the others."""
DONE = 0
INTERRUPTED = 130
KINDS = ("kind", "waits", "oldest", "runs", "ended/s", "failed 5 min", "attention", "paused")
WORKERS = ("worker", "runs", "slots", "finished", "version", "since", "")
GROUPS = ("jobs", "kind", "error", "last", "message")


class Rows(DataTable[Text]):
    """One of the tables."""


class Question(ModalScreen[bool]):
    """A question whose answer is yes with `y`, and no with anything else."""

    DEFAULT_CSS = """
    Question { align: center middle; }
    Question Label { border: round $warning; padding: 1 2; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "close(True)", "yes"),
        Binding("n,escape,enter,q", "close(False)", "no"),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        yield Label(Text(f"{self._text}\n\ny yes   n no"))

    def action_close(self, answer: bool) -> None:
        """Close with an answer."""
        self.dismiss(answer)


class TopScreen(App[int]):
    """The screen. It returns the exit code."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #state { height: 1; padding: 0 1; }
    DataTable { height: 1fr; margin-bottom: 1; }
    #kinds { height: 2fr; }
    #filter { display: none; height: 3; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "leave", "quit"),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("p", "pause", "pause or resume the kind"),
        Binding("escape", "unfilter", "all", show=False),
        Binding("ctrl+c", "interrupt", show=False, priority=True),
    ]

    def __init__(self, source: BoardSource, address: str) -> None:
        super().__init__()
        self._source = source
        self._address = address
        self._board: Board | None = None
        self._filter = ""
        self._looking = asyncio.Lock()

    def compose(self) -> ComposeResult:
        yield Static(id="state")
        with Vertical():
            for name, columns in (("kinds", KINDS), ("workers", WORKERS), ("groups", GROUPS)):
                table = Rows(id=name, cursor_type="row")
                for column in columns:
                    table.add_column(column, key=column or "note")
                yield table
        yield Input(id="filter", placeholder="part of a kind, a worker or an error; Enter applies it, Escape shows all")
        yield Footer()

    @property
    def _base(self) -> Screen[object]:
        """The screen with the tables, also while a question stands on it."""
        return self.screen_stack[0]

    async def on_mount(self) -> None:
        self._say(f"{self._address}: loading …")
        self._base.query_one("#kinds", Rows).focus()
        self.set_interval(EVERY_S, self._look_unless_looking)
        self.call_later(self.look)

    async def on_unmount(self) -> None:
        await self._source.close()

    async def _look_unless_looking(self) -> None:
        if not self._looking.locked():
            await self.look()

    async def look(self) -> None:
        """Query the services once and show the responses; while they do not respond, show since when."""
        fault: AckedError | None = None
        async with self._looking:
            try:
                self._board = await self._source.board()
            except AckedError as error:
                fault = error
        if not (self.screen_stack and self._base.query("#state")):
            # It was closed meanwhile.
            return
        if fault is None:
            self._show()
            return
        ago = "" if self._board is None else f", shown as of {since(self._board.at, datetime.now(UTC))} ago"
        self._say(f"{self._address}{ago}: {fault.args[0] if fault.args else fault}", style="bold red")

    def _show(self) -> None:
        board = self._board
        if board is None:
            return
        running, slots = board.slots
        filtered = f", only {self._filter!r}" if self._filter else ""
        self._say(
            f"{self._address}  {board.at:%H:%M:%SZ}  {len(board.workers)} workers, {running} of {slots} slots{filtered}"
        )
        found = matching(board, self._filter)
        self._fill("kinds", [(line.kind, _kind_cells(line)) for line in found.kinds])
        self._fill("workers", [(worker.instance, _worker_cells(worker, board.at)) for worker in found.workers])
        self._fill("groups", [(group.group, _group_cells(group, board.at)) for group in found.groups])

    def _fill(self, name: str, rows: Sequence[tuple[str, Sequence[str]]]) -> None:
        """Fill a table; its cursor stays on its row wherever that goes."""
        table = self._base.query_one(f"#{name}", Rows)
        under_cursor = _key_at(table)
        table.clear()
        for key, cells in rows[:MOST_ROWS]:
            table.add_row(*(Text(safe(cell), overflow="ellipsis") for cell in cells), key=key)
        if under_cursor is not None:
            try:
                table.move_cursor(row=table.get_row_index(under_cursor))
            except RowDoesNotExist:
                return

    def _say(self, text: str, *, style: str = "bold") -> None:
        self._base.query_one("#state", Static).update(Text(safe(text), style=style, overflow="ellipsis", no_wrap=True))

    def action_leave(self) -> None:
        """End the program."""
        self.exit(DONE)

    def action_interrupt(self) -> None:
        """End the program as Ctrl-C does."""
        self.exit(INTERRUPTED)

    def action_filter(self) -> None:
        """Ask for a part of a name."""
        field = self._base.query_one("#filter", Input)
        field.display = True
        field.focus()

    def action_unfilter(self) -> None:
        """Show everything."""
        self._base.query_one("#filter", Input).value = ""
        self._close_filter()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show what matches while it is typed."""
        self._filter = event.value.strip()
        self._show()

    def on_input_submitted(self) -> None:
        """Keep the filter."""
        self._close_filter()

    def _close_filter(self) -> None:
        self._base.query_one("#filter", Input).display = False
        self._base.query_one("#kinds", Rows).focus()

    def action_pause(self) -> None:
        """Ask whether to pause the kind under the cursor, or to resume it."""
        kind = _key_at(self._base.query_one("#kinds", Rows))
        line = next((line for line in self._board.kinds if line.kind == kind), None) if self._board else None
        if line is None:
            self.notify("move the cursor to a kind first")
            return
        if line.paused_by is None:
            question = f"Pause {safe(line.kind)}? Its running jobs continue, and requests are accepted."
        else:
            question = (
                f"Resume {safe(line.kind)}? {safe(line.paused_by)} has paused it: {safe(line.paused_because or '-')}"
            )

        def act(answer: bool | None) -> None:
            if answer:
                self.run_worker(self._pause(line), exclusive=True)

        self.push_screen(Question(question), act)

    async def _pause(self, line: KindLine) -> None:
        try:
            if line.paused_by is None:
                await self._source.pause(line.kind)
            else:
                await self._source.resume(line.kind)
        except AckedError as error:
            self.notify(safe(str(error.args[0] if error.args else error)), severity="error", markup=False)
            return
        await self.look()


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _kind_cells(line: KindLine) -> Sequence[str]:
    paused = "" if line.paused_by is None else f"by {line.paused_by}: {line.paused_because or '-'}"
    numbers = (_number(line.waiting), span(line.oldest_s), _number(line.running), f"{line.per_s:.1f}")
    return line.kind, *numbers, f"{line.failed:,}", _number(line.attention), paused


def _worker_cells(worker: Worker, now: datetime) -> Sequence[str]:
    numbers = (f"{worker.running:,}", f"{worker.slots:,}", f"{worker.finished:,}")
    return worker.id, *numbers, worker.version, since(worker.since, now), "leaves" if worker.draining else ""


def _group_cells(group: AttentionGroup, now: datetime) -> Sequence[str]:
    count = f"{group.count:,}{'' if group.count_is_exact else '+'}"
    return count, group.kind, group.type, f"{since(group.last_at, now)} ago", group.message


def _key_at(table: Rows) -> str | None:
    if not table.row_count:
        return None
    return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value
