"""Payloads that no live worker takes are refused before they are stored, and only these."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from acked.payload_schema import schema_of
from acked_common.background.kind_cache import KindCache
from acked_common.background.payload_check import PayloadCheck
from acked_common.background.schema_cache import SchemaCache
from acked_common.background.worker_cache import WorkerCache
from acked_common.http.fair_thread import ON_LOOP_BYTES
from acked_common.http.problems import Problem
from acked_common.model.payload_schemas import PayloadSchema, digest_of, parsed, stored_text
from acked_common.store.errors import StoreUnavailable
from acked_common.store.records import KindRecord, WorkerRecord
from support.factories import ManualClock, kind_record
from support.parts import ShakyStore

AT = ManualClock().now()


class Old(msgspec.Struct):
    name: str


class New(msgspec.Struct):
    name: str | None
    count: int


def schema(of: Any, version: str = "1") -> PayloadSchema:
    text = stored_text(of if isinstance(of, dict) else schema_of(of))
    assert text is not None
    return PayloadSchema(digest_of(text), version, text)


class Bench:
    """Kinds and workers in memory, as intake reads them."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = ShakyStore(self.clock)
        self.kinds = KindCache(self.store, self.clock.monotonic)
        self.cache = SchemaCache(self.kinds, WorkerCache(self.store, seen_within_s=24.0), self.clock.monotonic)
        self.check = PayloadCheck(self.cache)

    async def serve(self, boot: str, of: PayloadSchema | None) -> None:
        """Start a worker whose handler takes a type; it is known at once."""
        await self.start_unseen(boot, of)
        await self.kinds.refresh()
        self.cache._workers = await self.store.workers(seen_within_s=24.0)

    async def start_unseen(self, boot: str, of: PayloadSchema | None) -> None:
        known = kind_record("mail", "mail")
        made = WorkerRecord(boot, boot, ("mail",), 8, 0, 0, "1", AT, AT)
        if of is not None:
            known = replace(known, schemas=(of,), payload_schema=parsed(of.text))
            made = replace(made, schemas={"mail": of.digest})
        await self.store.register_kinds([known])
        await self.store.refresh_worker(made)

    @property
    def kind(self) -> KindRecord:
        found = self.kinds.get("mail")
        assert found is not None
        return found

    async def refused(self, value: object) -> Problem | None:
        found = await self.check.refusal(json.dumps(value).encode(), self.kind)
        return None if found is None else found.problem


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    yield Bench()


async def test_a_payload_of_another_type_gets_a_422_with_the_pointer(bench: Bench) -> None:
    await bench.serve("1", schema(Old))
    assert await bench.refused({"name": "Ada", "more": 1}) is None

    found = await bench.refused({"name": 7})

    assert found is not None
    assert (found.name, found.status) == ("invalid-field", 422)
    assert found.errors == ({"pointer": "/payload/name", "detail": "must be a text, not a whole number"},)
    assert found.detail == (
        "payload/name must be a text, not a whole number, by the schema of kind 'mail'. Nothing was stored"
    )
    missing = await bench.refused({})
    assert missing is not None
    assert missing.errors == ({"pointer": "/payload/name", "detail": "is missing; expected a text"},)
    whole = await bench.refused([])
    assert whole is not None and whole.errors[0]["pointer"] == "/payload"


async def test_the_first_payloads_after_a_start_wait_for_one_read_of_the_workers(bench: Bench) -> None:
    await bench.start_unseen("1", schema(Old))
    await bench.kinds.refresh()
    bench.store.calls.clear()
    found = await asyncio.gather(*(bench.refused({"name": 7}) for _ in range(3)))
    assert [one.name for one in found if one is not None] == ["invalid-field"] * 3
    assert bench.store.calls.count("workers") == 1


async def test_a_first_payload_is_not_accepted_unchecked_while_the_store_is_away(bench: Bench) -> None:
    await bench.start_unseen("1", schema(Old))
    await bench.kinds.refresh()
    bench.store.failures["workers"] = [StoreUnavailable("away")]
    with pytest.raises(StoreUnavailable):
        await bench.refused({"name": 7})
    assert await bench.refused({"name": 7}) is not None


async def test_what_one_of_two_versions_takes_is_accepted(bench: Bench) -> None:
    await bench.serve("1", schema(Old, "old"))
    await bench.serve("2", schema(New, "new"))

    assert await bench.refused({"name": "Ada"}) is None
    assert await bench.refused({"name": None, "count": 1}) is None
    found = await bench.refused({"name": None})

    assert found is not None
    assert list(found.errors) == [
        {"pointer": "/payload/count", "detail": "is missing; expected a whole number (version new)"},
        {"pointer": "/payload/name", "detail": "must be a text, not null (version old)"},
    ]


async def test_nothing_is_checked_while_a_worker_has_no_schema(bench: Bench) -> None:
    await bench.serve("1", schema(Old))
    await bench.serve("earlier version", None)
    assert await bench.refused({"name": 7}) is None

    await bench.store.forget_worker("earlier version")
    await bench.serve("1", schema(Old))
    assert await bench.refused({"name": 7}) is not None


async def test_a_look_again_finds_the_schema_of_a_new_worker(bench: Bench) -> None:
    await bench.serve("1", schema(Old))
    await bench.start_unseen("2", schema(New))
    payload = b'{"name": null, "count": 1}'
    assert await bench.check.refusal(payload, bench.kind) is not None
    assert await bench.check.look_again(payload, bench.kind) is None
    assert await bench.check.refusal(payload, bench.kind) is None
    assert await bench.check.look_again(b"[]", bench.kind) is not None


async def test_a_large_payload_is_checked_in_a_thread(bench: Bench) -> None:
    await bench.serve("1", schema(Old))
    assert await bench.refused({"name": "x" * ON_LOOP_BYTES}) is None
    found = await bench.refused({"more": "x" * ON_LOOP_BYTES})
    assert found is not None and found.errors[0]["pointer"] == "/payload/name"


async def test_a_schema_that_intake_cannot_use_refuses_nothing(bench: Bench) -> None:
    await bench.serve("1", schema({"$ref": "https://example.com/other"}))
    with capture_logs() as logs:
        assert await bench.refused({"name": 7}) is None
        assert await bench.refused([]) is None
    assert [entry["log_level"] for entry in logs] == ["warning"]
