"""The registered kinds in memory: read every few seconds, and again before a kind is refused as unknown."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from acked_common.http.problems import ErrorAt, ProblemError, problem
from acked_common.model.bundling import MAX_BUNDLE
from acked_common.model.principal import Permission, Principal
from acked_common.runtime.lifetime import Tasks
from acked_common.store.ports import KindStore
from acked_common.store.records import KindRecord

REFRESH_S = 5.0
# Many requests for unknown kinds share one read.
_SECOND_LOOK_EVERY_S = 0.2


def unknown_kind(name: str, known: Sequence[str], reader: Principal, *, errors: Sequence[ErrorAt] = ()) -> ProblemError:
    """Return the 422 for an unregistered kind. It lists the known kinds if the client may read them."""
    detail = f"no worker has registered kind {name[:64]!r}"
    if Permission.READ not in reader.permissions:
        return ProblemError(problem("unknown-kind", detail, errors=errors))
    detail += f"; known kinds: {', '.join(known) or 'none'}"
    return ProblemError(problem("unknown-kind", detail, errors=errors, extra={"known_kinds": list(known)}))


class KindCache:
    """Looks kinds up without I/O."""

    def __init__(
        self,
        store: KindStore,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        known: Mapping[str, KindRecord] | None = None,
    ) -> None:
        """`known` are the kinds that this process registers; they are used until the kinds are read."""
        self._store = store
        self._monotonic = monotonic
        self._kinds: Mapping[str, KindRecord] = known or {}
        self._was_read = asyncio.Event()
        self._read_at: float | None = None
        self._looking: asyncio.Task[None] | None = None

    @property
    def was_read(self) -> bool:
        """Whether the kinds have been read."""
        return self._read_at is not None

    async def wait_read(self) -> None:
        """Wait until the kinds are read. Before that, a job might be published on a lane without a consumer."""
        await self._was_read.wait()

    @property
    def names(self) -> list[str]:
        """All known names, sorted."""
        return sorted(self._kinds)

    def start(self, tasks: Tasks) -> None:
        """Start to refresh the cache."""
        tasks.repeat("kinds", self.refresh, every_s=REFRESH_S)

    def get(self, name: str) -> KindRecord | None:
        """Return the kind as it was last read."""
        return self._kinds.get(name)

    def all(self) -> list[KindRecord]:
        """All kinds, sorted by name."""
        return [self._kinds[name] for name in self.names]

    def knows_lane(self, kind: str) -> bool:
        """Return whether `lane` is correct for the kind: only once the kind, or all kinds, were read."""
        return self.was_read or kind in self._kinds

    def lane(self, kind: str) -> str:
        """Return the lane of a kind; its own name if the kind is unknown."""
        record = self._kinds.get(kind)
        return record.lane if record else kind

    def bundle(self, kind: str) -> int:
        """Return the maximum of jobs in a bundle of this kind."""
        record = self._kinds.get(kind)
        return record.bundle if record else MAX_BUNDLE

    async def refresh(self) -> None:
        """Read all kinds. Raises `StoreError`."""
        self._kinds = await self._store.kinds()
        self._read_at = self._monotonic()
        self._was_read.set()

    async def look_again(self, name: str) -> KindRecord | None:
        """Return the kind after reading again. Raises `StoreError`."""
        if self._read_at is None or self._monotonic() - self._read_at > _SECOND_LOOK_EVERY_S:
            # Concurrent callers share the read, and its failure.
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self.refresh())
            await asyncio.shield(self._looking)
        return self._kinds.get(name)
