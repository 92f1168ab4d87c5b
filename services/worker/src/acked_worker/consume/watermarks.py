"""Watermarks: how far this worker has consumed each lane, for the sweeper (docs/internals/delivery.md)."""

from datetime import datetime

from acked_common.store.errors import StoreError
from acked_common.store.ports import WatermarkStore


class Watermarks:
    """The newest `queued_at` that this worker has claimed from each lane; `write` persists changes."""

    def __init__(self, store: WatermarkStore) -> None:
        self._store = store
        self._changed: dict[str, datetime] = {}

    def note(self, lane: str, queued_at: datetime) -> None:
        """Note that a bundle of the lane was claimed."""
        known = self._changed.get(lane)
        if known is None or queued_at > known:
            self._changed[lane] = queued_at

    async def write(self) -> None:
        """Persist what has changed since the last write. Raises `StoreError`; the next write repeats it."""
        changed, self._changed = self._changed, {}
        try:
            for lane, queued_at in changed.items():
                await self._store.raise_watermark(lane, queued_at)
        except StoreError:
            for lane, queued_at in changed.items():
                self.note(lane, queued_at)
            raise
