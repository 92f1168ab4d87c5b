"""`LoadTestStore` on MongoDB: one document a place, found by its id."""

from datetime import timedelta

from acked_common.store.load_tests import KEPT_DAYS, LoadTestRecord, place_of
from acked_common.store.mongo.driver import Collection
from acked_common.store.mongo.errors import store_errors


class MongoLoadTests:
    """The figures of load tests of one database."""

    def __init__(self, records: Collection) -> None:
        """Use `records`, a collection whose writes wait for a majority and whose reads see one."""
        self._records = records

    async def keep(self, record: LoadTestRecord) -> None:
        values = {name: getattr(record, name) for name in LoadTestRecord.__struct_fields__}
        values["forget_at"] = record.at + timedelta(days=KEPT_DAYS)
        with store_errors("keeping the figures of a load test"):
            await self._records.update_one(
                {"_id": place_of(record.batch, record.tenant)}, {"$set": values}, upsert=True
            )

    async def find(self, batch: str, *, tenant: str) -> LoadTestRecord | None:
        with store_errors("reading the figures of a load test"):
            found = await self._records.find_one({"_id": place_of(batch, tenant), "batch": batch})
        return None if found is None else LoadTestRecord(tenant, batch, found["at"], found["figures"])
