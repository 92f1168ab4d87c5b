"""Counts by kind: the backlog, and transitions over a window, as the gateway counts them. Pure."""

from datetime import datetime

from msgspec import Struct

from acked_client.model.operating import KindBacklog


class Backlog(Struct, frozen=True, kw_only=True):
    """The current jobs of each kind, over all tenants. `counted_at` is None if there was no count in the last minute.

    There are more jobs in `inexact_states` than the 100,000 that are counted.
    """

    counted_at: datetime | None
    kinds: list[KindBacklog]
    inexact_states: list[str]


class KindTotals(Struct, frozen=True, kw_only=True):
    """What happened to the jobs of a kind over a window."""

    kind: str
    accepted: int
    started: int
    succeeded: int
    failed: int
    cancelled: int
    backed_off: int
    requeued: int


class WindowTotals(Struct, frozen=True, kw_only=True):
    """What happened to the jobs of each kind since an instant."""

    window: str
    since: datetime
    kinds: list[KindTotals]
