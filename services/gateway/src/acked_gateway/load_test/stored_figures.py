"""Store the figures of load tests with their batches, so that a reload or a shared link of the page shows them."""

import structlog

from acked_common.http.responses import encode
from acked_common.runtime.clock import Clock
from acked_common.store.errors import StoreError
from acked_common.store.load_tests import LoadTestRecord, LoadTestStore
from acked_gateway.jobs.load_figures import LoadTestAnswer

log = structlog.get_logger(__name__)


class StoredFigures:
    """Stores figures; `GET /batches/{batch}` returns them."""

    def __init__(self, store: LoadTestStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def keep(self, figures: LoadTestAnswer, *, tenant: str) -> None:
        """Store the figures of a test. Without the store they are lost; the response of the test still has them."""
        record = LoadTestRecord(tenant, figures["batch"], self._clock.now(), encode(figures))
        try:
            await self._store.keep(record)
        except StoreError as error:
            log.warning("figures of a load test not kept", batch=record.batch, error=str(error))
