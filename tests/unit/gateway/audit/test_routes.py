"""The audit over HTTP."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from starlette.applications import Starlette

from acked_common.api.authenticator import TOKEN_KEY, operator_of
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.http.holdings import Ledger
from acked_common.http.limits import Limit
from acked_common.model.audit import AuditAction
from acked_common.model.ids import new_id
from acked_common.model.instants import rfc3339
from acked_common.model.principal import LOCAL_OPERATOR, SCOPE_KEY, Actor, Operator, Permission, Principal
from acked_common.model.tokens import mint
from acked_gateway.audit.notes import Audit
from acked_gateway.audit.operations import DEFAULT_PAGE, MAX_PAGE
from acked_gateway.audit.routes import audit_routes
from acked_gateway.jobs.routes import Reads
from support.asgi import Answer, call
from support.factories import ManualClock
from support.memory_store import MemoryStore

ID = "01a20d05-adf2-7315-9ee6-8162dae54aa3"
ADA = Operator("default", Actor("ada", "a" * 12))


class Bench:
    """The route over parts in memory, asked by the tenant `default`."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock).audit()
        self.audit = Audit(self.store, self.clock)
        self.limit = Limit("reads", Ledger(6, 3), own="too-many-reads", what="lists and counts")
        routes = audit_routes(self.store, self.clock, Reads(self.limit).turn)
        self.app = Starlette(routes=routes, exception_handlers=dict(EXCEPTION_HANDLERS))

    async def note(self, operator: Operator = ADA, action: AuditAction = AuditAction.RETRY, **more: Any) -> None:
        """Note one act; each at another instant."""
        self.clock.advance(1.0)
        await self.audit.note(operator, action, {"job": str(len(self.store.entries))}, **more)

    async def get(self, query: str = "") -> Answer:
        return await call(self.app, "GET", f"/audit{query}")

    async def listed(self, query: str = "") -> list[str]:
        """The jobs of the entries."""
        response = await self.get(query)
        assert response.status == 200, response.body
        return [entry["target"]["job"] for entry in response.json["entries"]]


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_an_entry_tells_who_did_what_and_when(bench: Bench) -> None:
    await bench.note(reason="the bank was away", count=3)
    await bench.note(LOCAL_OPERATOR, AuditAction.ERASE)
    newest, oldest = (await bench.get()).json["entries"]
    assert oldest == {
        "id": str(bench.store.entries[0].id),
        "at": rfc3339(bench.store.entries[0].at),
        "client": "ada",
        "token_id": "a" * 12,
        "action": "retry",
        "target": {"job": "0"},
        "reason": "the bank was away",
        "count": 3,
    }
    assert (newest["client"], newest["token_id"], newest["action"]) == ("local", None, "erase")
    assert newest.keys().isdisjoint({"reason", "count"})


async def test_pages_follow_each_other_without_a_gap(bench: Bench) -> None:
    for _ in range(5):
        await bench.note()
    found, token = [], ""
    for _ in range(3):
        page = (await bench.get(f"?page_size=2&action=retry&page_token={token}")).json
        found += [entry["target"]["job"] for entry in page["entries"]]
        token = page["next_page_token"]
    assert (found, token) == (["4", "3", "2", "1", "0"], "")


async def test_page_token_of_another_list_is_refused(bench: Bench) -> None:
    for _ in range(2):
        await bench.note()
    token = (await bench.get("?page_size=1&client=ada")).json["next_page_token"]
    response = await bench.get(f"?page_size=1&client=bob&page_token={token}")
    assert (response.status, response.json["errors"][0]["pointer"]) == (422, "?page_token")


@pytest.mark.parametrize(("asked", "size"), [("", DEFAULT_PAGE), ("0", 1), ("999999999", MAX_PAGE)])
async def test_a_page_has_a_bounded_size(bench: Bench, asked: str, size: int) -> None:
    for _ in range(MAX_PAGE + 1):
        await bench.note()
    assert len(await bench.listed(f"?page_size={asked}")) == size


async def test_filters_narrow_the_list(bench: Bench) -> None:
    await bench.note()
    await bench.note(action=AuditAction.CANCEL)
    await bench.note(Operator("default", Actor("bob", "b" * 12)))
    await bench.note(Operator("globex", Actor("ada", "c" * 12)))
    assert await bench.listed() == ["2", "1", "0"]
    assert await bench.listed("?action=retry") == ["2", "0"]
    assert await bench.listed("?client=ada") == ["1", "0"]
    second_at = rfc3339(bench.store.entries[1].at)
    assert await bench.listed(f"?since={second_at}") == ["2", "1"]
    assert await bench.listed(f"?until={second_at}") == ["0"]
    # The clock stands at the fourth entry.
    assert await bench.listed("?since=1s") == ["2"]
    assert await bench.listed("?until=2s") == ["0"]
    assert await bench.listed("?since=1h&until=1m") == []


async def test_entries_of_one_object_are_listed(bench: Bench) -> None:
    targets: list[dict[str, str]] = [{"job": ID}, {"bulk": ID}, {"kind": "demo"}, {"job": str(new_id())}]
    for target in targets:
        await bench.audit.note(ADA, AuditAction.RETRY, target)
    for query, target in zip((f"job={ID.upper()}", f"bulk_action={ID}", "kind=demo"), targets, strict=False):
        entries = (await bench.get(f"?{query}&action=&client=")).json["entries"]
        assert [entry["target"] for entry in entries] == [target]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("?action=retri", "?action"),
        ("?client=Ada", "?client"),
        ("?since=yesterday", "?since"),
        ("?since=1w", "?since"),
        ("?until=2026-01-02", "?until"),
        ("?until=2026-13-02T03:04:05Z", "?until"),
        ("?page_size=-1", "?page_size"),
        ("?page_token=x", "?page_token"),
        ("?clint=ada", "?clint"),
        ("?job=7", "?job"),
        ("?bulk_action=7", "?bulk_action"),
        ("?kind=A", "?kind"),
        (f"?job={ID}&kind=demo", "?kind"),
        (f"?job={ID}&action=retry", "?action"),
        ("?kind=demo&client=ada", "?client"),
    ],
)
async def test_a_parameter_that_means_nothing_is_named(bench: Bench, query: str, name: str) -> None:
    response = await bench.get(query)
    assert (response.status, response.json["errors"][0]["pointer"]) == (422, name)


async def test_lists_at_once_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    may_go_on, begun = asyncio.Event(), asyncio.Semaphore(0)
    list_entries = bench.store.list

    async def held(*args: Any, **kwargs: Any) -> Any:
        begun.release()
        await may_go_on.wait()
        return await list_entries(*args, **kwargs)

    monkeypatch.setattr(bench.store, "list", held)
    reads = [asyncio.create_task(bench.get()) for _ in range(3)]
    for _ in reads:
        await begun.acquire()
    response = await bench.get()
    assert (response.status, response.json["type"]) == (429, "/problems/too-many-reads")
    may_go_on.set()
    assert {response.status for response in await asyncio.gather(*reads)} == {200}


def test_an_operator_is_named_by_client_and_token() -> None:
    _, record = mint(tenant="acme", client="ada", may=["operate"], at=ManualClock().now(), expires_in_days=1)
    assert operator_of({SCOPE_KEY: record.principal, TOKEN_KEY: record}) == Operator("acme", Actor("ada", record.id))
    assert operator_of({}) == LOCAL_OPERATOR
    nameless = Principal("acme", "bob", frozenset({Permission.OPERATE}))
    assert operator_of({SCOPE_KEY: nameless}) == Operator("acme", Actor("bob"))


async def test_entries_of_one_moment_have_ids_of_their_own(bench: Bench) -> None:
    for _ in range(100):
        await bench.audit.note(ADA, AuditAction.CANCEL, {})
    entries = bench.store.entries
    assert len({entry.id for entry in entries}) == 100
    bench.clock.advance(0.001)
    await bench.audit.note(ADA, AuditAction.RETRY, {})
    assert max(entries, key=lambda entry: entry.id).action == AuditAction.RETRY
    assert entries[-1].at - entries[0].at == timedelta(milliseconds=1)
