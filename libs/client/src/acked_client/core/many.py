"""Many submissions in one call: one outcome a row, in the order of the rows, with keys that a resumption repeats. Pure.

Rows travel in chunks, several of them at once; `lines` sends a chunk. This module says which rows may be sent next,
and orders their outcomes. It holds at most `window` rows.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from acked_client.core.jobs import Submitted
from acked_client.model.errors import ProblemError
from acked_client.model.requests import Submission

CHUNK_ROWS = 500
"""The most rows that are sent in one request."""
OF_A_ROW = frozenset({400, 409, 413, 422})
"""Statuses that refuse only their row; later rows are submitted. Every other failure ends the call."""


@dataclass(frozen=True, slots=True)
class Row:
    """A submission with its key, and its place, from 0."""

    index: int
    submission: Submission

    @property
    def idempotency_key(self) -> str:
        """The key of the row."""
        return str(self.submission.idempotency_key)


@dataclass(frozen=True, slots=True)
class RowOutcome:
    """The outcome of one row: a job, or the error that refused it."""

    row: Row
    submitted: Submitted | None
    error: ProblemError | None


class ManyRows:
    """The rows of one call.

    A row without a key gets one of the prefix and its place. The same rows with the same prefix are the same jobs.
    """

    def __init__(self, rows: Iterable[Submission], key_prefix: str, window: int) -> None:
        if window < 1:
            raise ValueError(f"concurrency must be 1 or more, not {window}")
        self._rows = enumerate(rows)
        self._prefix = key_prefix
        self._window = window
        self._settled: dict[int, RowOutcome] = {}
        self._taken = 0
        self._given = 0
        self._is_exhausted = False
        self._stopped: tuple[int, Exception] | None = None

    @property
    def is_done(self) -> bool:
        """Whether all rows have their outcomes and were given."""
        return self._is_exhausted and self._given == self._taken

    def take(self) -> Row | None:
        """Return the next row to send; None if there is none, or as many as allowed are under way."""
        if self._is_exhausted or self._stopped is not None or self._taken - self._given >= self._window:
            return None
        found = next(self._rows, None)
        if found is None:
            self._is_exhausted = True
            return None
        index, submission = found
        self._taken += 1
        if submission.idempotency_key is None:
            submission = replace(submission, idempotency_key=f"{self._prefix}:{index}")
        return Row(index, submission)

    def take_chunk(self) -> list[Row]:
        """Return the next rows to send in one request; none if there are none, or as many as allowed are under way."""
        chunk: list[Row] = []
        while len(chunk) < CHUNK_ROWS and (row := self.take()) is not None:
            chunk.append(row)
        return chunk

    def settle(self, row: Row, outcome: Submitted | Exception) -> None:
        """Record the outcome of a row. An exception that affects more than its row ends the call at this row."""
        if isinstance(outcome, Submitted):
            self._settled[row.index] = RowOutcome(row, outcome, None)
        elif isinstance(outcome, ProblemError) and outcome.status in OF_A_ROW:
            self._settled[row.index] = RowOutcome(row, None, outcome)
        elif self._stopped is None or row.index < self._stopped[0]:
            self._stopped = (row.index, outcome)

    def ready(self) -> Iterator[RowOutcome]:
        """Yield the outcomes that are next in order. Raise what ended the call once its row is next."""
        while (outcome := self._settled.pop(self._given, None)) is not None:
            self._given += 1
            yield outcome
        if self._stopped is not None and self._stopped[0] == self._given:
            raise self._stopped[1]
