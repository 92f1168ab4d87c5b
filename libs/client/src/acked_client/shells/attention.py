"""Failed jobs by group of errors, blocking."""

from collections.abc import Iterator

from msgspec import UNSET, UnsetType

from acked_client.core import lists, operating
from acked_client.core.exchange import Session
from acked_client.model.lists import AttentionGroup, AttentionNotes
from acked_client.shells.blocking import Driver


class AttentionCalls:
    """The calls of `Acked` that concern groups of errors."""

    _driver: Driver
    _session: Session

    def attention(self, *, kind: str | None = None, snoozed: bool = False) -> Iterator[AttentionGroup]:
        """Iterate over failed jobs by group of errors; the group with the newest failure comes first."""
        return self._driver.pages(lists.attention(self._session, kind, snoozed))

    def note_attention(
        self,
        group: str,
        *,
        comment: str | UnsetType | None = UNSET,
        taken: bool | UnsetType = UNSET,
        snooze_s: float | UnsetType | None = UNSET,
    ) -> AttentionNotes:
        """Comment on a group of errors, take it, or hide it for `snooze_s` seconds. Return its notes.

        What is not passed stays. None removes the comment, or ends the snooze; `taken=False` gives the group back.
        """
        members = {"comment": comment, "taken": taken, "snooze_s": snooze_s}
        return self._driver.run(operating.note_attention(self._session, group, members))
