"""Create what the services require: `python -m acked_worker.init`. Idempotent; runs on every `up`."""

import asyncio
import sys
from collections.abc import Awaitable, Callable

from acked_common.broker import BrokerError
from acked_common.broker.rabbitmq.connection import BrokerConnection
from acked_common.broker.rabbitmq.consumer import CALL_TIMEOUT_S
from acked_common.broker.rabbitmq.topology import declare_lane, declare_shared
from acked_common.runtime.clock import SharedClock
from acked_common.runtime.env import SettingsError
from acked_common.runtime.logs import get_log, set_up_logs
from acked_common.store.errors import StoreError
from acked_common.store.mongo.store import MongoStore
from acked_worker.handlers.imports import load_handlers
from acked_worker.handlers.registration import kind_records, lanes_of
from acked_worker.handlers.registry import HandlersError
from acked_worker.settings import WorkerSettings, read_settings

log = get_log(__name__)

WITHIN_S = 60.0
SCHEMA_WITHIN_S = 3600.0
RETRY_S = 0.3


async def _until_done(what: str, step: Callable[[], Awaitable[object]], *, within_s: float = WITHIN_S) -> None:
    last: Exception | None = None
    try:
        async with asyncio.timeout(within_s):
            while True:
                try:
                    await step()
                    return
                except (StoreError, BrokerError) as error:
                    last = error
                    await asyncio.sleep(RETRY_S)
    except TimeoutError:
        raise SystemExit(f"acked-init: {what} failed for {within_s:g} s: {last}") from None


async def init(settings: WorkerSettings) -> None:
    """Create indexes, validator, schema version, lanes and the shipped kinds."""
    common = settings.common
    kinds = load_handlers(settings.handlers)
    store = MongoStore(common.servers.mongo_url, common.servers.database, app_name="acked-init", timeout_s=20.0)
    records = list(kind_records(kinds, settings.capacity, seen_at=SharedClock().now()).values())

    async def declare() -> None:
        connection = BrokerConnection(common.servers.amqp_url, name="acked-init")
        try:
            channel = await connection.open_channel()
            await declare_shared(channel, timeout_s=CALL_TIMEOUT_S)
            for lane in lanes_of(records):
                await declare_lane(channel, lane, timeout_s=CALL_TIMEOUT_S)
        finally:
            await connection.drop()

    try:
        await _until_done("reaching MongoDB", store.server_time)
        # An index over millions of jobs takes minutes; jobs are read and written meanwhile.
        await _until_done("making the schema", store.ensure_schema, within_s=SCHEMA_WITHIN_S)
        await _until_done("registering kinds", lambda: store.register_kinds(records))
        await _until_done("declaring lanes", declare)
    finally:
        await store.close()
    log.info("initialized", kinds=sorted(kinds))


def main() -> int:
    """Run `init`. Return the exit code."""
    try:
        settings = read_settings()
        set_up_logs("acked-init", settings.common.log_level)
        asyncio.run(init(settings))
    except (SettingsError, HandlersError) as error:
        print(f"acked-init: {error}", file=sys.stderr)  # noqa: T201 - read by a person
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
