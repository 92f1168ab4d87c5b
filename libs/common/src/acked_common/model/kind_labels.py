"""OWNER of the bound on the label `kind` of metrics: some kinds have series of their own, all others share one. Pure.

A kind keeps its label for as long as the process lives, so no counter ever falls and no observation is lost.
"""

MOST_KINDS = 200
OTHER = "other"
"""The label of all further kinds, and of a kind with this name."""
MOST_COUNTED = 10_000
"""The maximum of further kinds that are remembered, so that each counts once."""


class KindLabels:
    """The labels of one process: the first `most` kinds that it measures get one each."""

    def __init__(self, most: int = MOST_KINDS, most_counted: int = MOST_COUNTED) -> None:
        self._most = most
        self._most_counted = most_counted
        self._labels: dict[str, str] = {}
        self._left_out: set[str] = set()

    def of(self, kind: str) -> str:
        """Return the label of a kind."""
        return self._labels.get(kind) or self._first(kind)

    @property
    def left_out(self) -> int:
        """Return how many kinds share `OTHER`; at most `most_counted` are counted."""
        return len(self._left_out)

    def _first(self, kind: str) -> str:
        if kind == OTHER:
            return OTHER
        if len(self._labels) < self._most:
            self._labels[kind] = kind
            return kind
        if len(self._left_out) < self._most_counted:
            self._left_out.add(kind)
        return OTHER
