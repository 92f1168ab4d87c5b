"""The kinds that a service knows, in memory: read every few seconds, and once more before one is called unknown."""

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
# A crowd of requests for unknown kinds shares one look.
_SECOND_LOOK_EVERY_S = 0.2


def unknown_kind(name: str, known: Sequence[str], reader: Principal, *, errors: Sequence[ErrorAt] = ()) -> ProblemError:
    """The 422 for a kind that is not registered. It lists the known ones to readers that `GET /kinds` lists them to."""
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
        """`known` are those that the process itself registers: they count until the kinds are read."""
        self._store = store
        self._monotonic = monotonic
        self._kinds: Mapping[str, KindRecord] = known or {}
        self._was_read = asyncio.Event()
        self._read_at: float | None = None
        self._looking: asyncio.Task[None] | None = None

    @property
    def was_read(self) -> bool:
        """Whether the kinds were ever read."""
        return self._read_at is not None

    async def wait_read(self) -> None:
        """Returns when the kinds were read: before that a job might be published on a lane that nobody consumes."""
        await self._was_read.wait()

    @property
    def names(self) -> list[str]:
        """All known names, sorted."""
        return sorted(self._kinds)

    def start(self, tasks: Tasks) -> None:
        """Keeps the table fresh."""
        tasks.repeat("kinds", self.refresh, every_s=REFRESH_S)

    def get(self, name: str) -> KindRecord | None:
        """The kind as it was last read."""
        return self._kinds.get(name)

    def all(self) -> list[KindRecord]:
        """All kinds, sorted by name."""
        return [self._kinds[name] for name in self.names]

    def knows_lane(self, kind: str) -> bool:
        """Whether `lane` tells where workers consume the kind: not before it, or all kinds, were read."""
        return self.was_read or kind in self._kinds

    def lane(self, kind: str) -> str:
        """The lane of a kind; its own name where nothing is known of it."""
        record = self._kinds.get(kind)
        return record.lane if record else kind

    def bundle(self, kind: str) -> int:
        """How many jobs one bundle of this kind may carry."""
        record = self._kinds.get(kind)
        return record.bundle if record else MAX_BUNDLE

    async def refresh(self) -> None:
        """Reads all kinds. Raises `StoreError`."""
        self._kinds = await self._store.kinds()
        self._read_at = self._monotonic()
        self._was_read.set()

    async def look_again(self, name: str) -> KindRecord | None:
        """The kind after one more look. Raises `StoreError`."""
        if self._read_at is None or self._monotonic() - self._read_at > _SECOND_LOOK_EVERY_S:
            # All who ask meanwhile share the look, and its failure.
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self.refresh())
            await asyncio.shield(self._looking)
        return self._kinds.get(name)
