"""The callback endpoints of all tenants in memory, by which intake marks new jobs.

A change has to apply at a known time: the gateway responds to it after `READ_WITHIN_S`. So a list that is older than
that is read again before a job is accepted, even if MongoDB was slow meanwhile.

While this service may not read them, gateways may not change them either: the grants are those of a version without
endpoints, to which the services are being rolled back. Then the list as it was read last goes on to count, and requests
are accepted.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from acked_common.model.callback_endpoints import READ_WITHIN_S, EndpointMatch, names_of
from acked_common.runtime.lifetime import Tasks
from acked_common.runtime.logs import get_log
from acked_common.store.callback_endpoints import EndpointMatches
from acked_common.store.errors import StoreForbidden

log = get_log(__name__)

REFRESH_S = 0.8
_NONE: tuple[str, ...] = ()


class EndpointCache:
    """Finds the endpoints of a new job. On the loop of the process."""

    def __init__(self, store: EndpointMatches, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._monotonic = monotonic
        self._of_tenant: Mapping[str, Sequence[EndpointMatch]] = {}
        self._read_at = float("-inf")
        """When the read of this list began."""
        self._reading = asyncio.Lock()
        self._is_forbidden = False

    def start(self, tasks: Tasks) -> None:
        """Start to refresh the list."""
        tasks.repeat("callback endpoints", self.refresh, every_s=REFRESH_S)

    @property
    def is_fresh(self) -> bool:
        """Whether every change from before `READ_WITHIN_S` is in the list."""
        return self._monotonic() - self._read_at < READ_WITHIN_S

    async def refresh(self) -> None:
        """Read all endpoints as they are now. Raise `StoreError`."""
        began_at = self._monotonic()
        found: defaultdict[str, list[EndpointMatch]] = defaultdict(list)
        try:
            matches = await self._store.matches()
        except StoreForbidden as error:
            self._note_forbidden(error)
            self._read_at = max(self._read_at, began_at)
            return
        self._is_forbidden = False
        for one in matches:
            found[one.tenant].append(one)
        if began_at >= self._read_at:
            self._of_tenant, self._read_at = found, began_at

    async def make_fresh(self) -> None:
        """Read the list if it is too old. Concurrent callers share the read. Raise `StoreError`."""
        async with self._reading:
            if not self.is_fresh:
                await self.refresh()

    def _note_forbidden(self, error: StoreForbidden) -> None:
        if not self._is_forbidden:
            log.warning(
                "callback endpoints stay as they were read last: grants are those of a version without any",
                error=str(error),
            )
        self._is_forbidden = True

    def names(self, tenant: str, kind: str) -> tuple[str, ...]:
        """Return the names of the endpoints of a new job, as they were read."""
        matches = self._of_tenant.get(tenant)
        return _NONE if matches is None else names_of(matches, kind)
