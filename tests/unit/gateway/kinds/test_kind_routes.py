"""Pause and resume over HTTP: who, why, since when; what is refused; and what the status of waiting jobs says."""

import json
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from starlette.applications import Starlette

from acked_common.api.authenticator import Authenticator
from acked_common.api.hints import Hints
from acked_common.api.long_poll import LongPolls
from acked_common.api.status_route import status_routes
from acked_common.background.kind_cache import KindCache
from acked_common.background.pause_cache import PauseCache
from acked_common.background.queue_looks import QueueLooks
from acked_common.background.worker_cache import WorkerCache
from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.http.holdings import Ledger
from acked_common.http.limits import Limit
from acked_common.model.instants import rfc3339
from acked_common.model.pauses import MAX_REASON_CHARS, KindPauses, Pause
from acked_common.model.principal import SCOPE_KEY, Permission, Principal
from acked_common.store.errors import StoreUnavailable
from acked_gateway.audit.notes import Audit
from acked_gateway.kinds.pausing import Pausing
from acked_gateway.kinds.routes import kind_routes
from support.asgi import Answer, call
from support.factories import ManualClock, kind_record, queued, running
from support.parts import ShakyStore

AT = ManualClock().now()


class Bench:
    """The routes over parts in memory, as one client calls them."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = ShakyStore(self.clock)
        self.principal: Principal | None = None
        kinds = KindCache(self.store)
        pauses = PauseCache(self.store)
        audit = Audit(self.store.audit(), self.clock)
        workers = WorkerCache(self.store, seen_within_s=24.0)
        polls = Limit("polls", Ledger(6, 3), own="too-many-polls", what="long polls")
        hints = Hints(workers, kinds, QueueLooks(self.store, self.store, self.clock), self.clock, pauses)
        routes = [
            *kind_routes(Pausing(self.store, kinds, pauses, audit, self.clock)),
            *status_routes(self.store, LongPolls(self.store), hints, kinds, pauses, Authenticator(None), polls),
        ]
        self._app = Starlette(routes=routes, exception_handlers=dict(EXCEPTION_HANDLERS))

    async def call(self, method: str, target: str, body: Any = None) -> Answer:
        sent = [] if body is None else [body if isinstance(body, bytes) else json.dumps(body).encode()]

        async def as_client(scope: Any, receive: Any, send: Any) -> None:
            await self._app({**scope, **({SCOPE_KEY: self.principal} if self.principal else {})}, receive, send)

        return await call(as_client, method, target, *sent)

    async def kinds(self) -> dict[str, Any]:
        answer = await self.call("GET", "/kinds")
        return {kind["kind"]: kind["paused"] for kind in answer.json["kinds"]}

    async def audited(self) -> list[tuple[str, Any, str | None]]:
        return [(entry.action, entry.target, entry.reason) for entry in self.store.audit().entries]


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    await made.store.register_kinds([kind_record("mail", "mail"), kind_record("other", "other")])
    return made


async def test_a_pause_says_who_why_and_since_when(bench: Bench) -> None:
    bench.principal = Principal("default", "ann", frozenset(Permission))
    answer = await bench.call("POST", "/kinds/mail/pause", {"reason": "the mail server rejects everything"})
    assert answer.status == 200
    paused = {
        "client": "ann",
        "token_id": None,
        "reason": "the mail server rejects everything",
        "since": rfc3339(AT),
    }
    assert (answer.json["kind"], answer.json["paused"]) == ("mail", paused)
    assert await bench.kinds() == {"mail": paused, "other": None}
    assert await bench.audited() == [("pause", {"kind": "mail"}, "the mail server rejects everything")]


@pytest.mark.parametrize("body", [None, b"", {}, {"reason": None}, {"reason": ""}])
async def test_a_pause_needs_no_reason(bench: Bench, body: Any) -> None:
    answer = await bench.call("POST", "/kinds/mail/pause", body)
    assert (answer.status, answer.json["paused"]["reason"]) == (200, None)


async def test_pausing_twice_keeps_the_first(bench: Bench) -> None:
    first = await bench.call("POST", "/kinds/mail/pause", {"reason": "one"})
    bench.clock.advance(60)
    bench.principal = Principal("default", "bob", frozenset(Permission))
    second = await bench.call("POST", "/kinds/mail/pause", {"reason": "two"})
    assert (second.status, second.json) == (200, first.json)


async def test_a_resume_ends_it_and_a_second_one_changes_nothing(bench: Bench) -> None:
    await bench.call("POST", "/kinds/mail/pause")
    bench.clock.advance(60)
    for _ in range(2):
        answer = await bench.call("POST", "/kinds/mail/resume")
        assert (answer.status, answer.json["paused"]) == (200, None)
    (past,) = (await bench.store.pauses())["mail"].past
    assert (past.from_at, past.to_at) == (AT, AT + timedelta(seconds=60))
    assert [action for action, _, _ in await bench.audited()] == ["pause", "resume", "resume"]
    assert (await bench.call("POST", "/kinds/other/resume")).status == 200


@pytest.mark.parametrize("command", ["pause", "resume"])
async def test_an_unknown_kind_is_named_beside_the_known_ones(bench: Bench, command: str) -> None:
    answer = await bench.call("POST", f"/kinds/mial/{command}")
    assert (answer.status, answer.json["type"]) == (404, "/problems/not-found")
    assert answer.json["known_kinds"] == ["mail", "other"]
    bench.principal = Principal("default", "ann", frozenset({Permission.OPERATE}))
    answer = await bench.call("POST", f"/kinds/mial/{command}")
    assert answer.status == 404 and "mail" not in answer.body.decode()
    assert await bench.audited() == []
    assert "mial" not in await bench.store.kinds()


async def test_a_kind_that_was_registered_a_moment_ago_is_known(bench: Bench) -> None:
    await bench.call("POST", "/kinds/mail/pause")
    await bench.store.register_kinds([kind_record("new", "new")])
    assert (await bench.call("POST", "/kinds/new/pause")).status == 200


async def test_a_kind_that_shares_its_lane_is_not_paused(bench: Bench) -> None:
    await bench.store.register_kinds([kind_record(name, "shared") for name in ("a", "b", "c")])
    answer = await bench.call("POST", "/kinds/b/pause")
    assert (answer.status, answer.json["type"]) == (409, "/problems/shared-lane")
    assert (answer.json["lane"], answer.json["kinds"]) == ("shared", ["a", "c"])
    assert (await bench.store.pauses(), await bench.audited()) == ({}, [])
    # What is not paused can be resumed all the same.
    assert (await bench.call("POST", "/kinds/b/resume")).status == 200


@pytest.mark.parametrize(
    ("body", "name", "pointer"),
    [
        (b"[]", "invalid-field", ""),
        (b'{"reason": 7}', "invalid-field", "/reason"),
        (b'{"reson": "x"}', "invalid-field", "/reson"),
        (json.dumps({"reason": "x" * (MAX_REASON_CHARS + 1)}).encode(), "invalid-field", "/reason"),
        (b"{", "bad-json", None),
        (b'{"reason": "a", "reason": "b"}', "duplicate-key", None),
        (b" " * 20_000 + b"{}", "body-too-large", None),
    ],
)
async def test_a_body_that_is_not_understood_pauses_nothing(
    bench: Bench, body: bytes, name: str, pointer: str | None
) -> None:
    answer = await bench.call("POST", "/kinds/mail/pause", body)
    assert answer.json["type"] == f"/problems/{name}"
    if pointer is not None:
        assert answer.json["errors"][0]["pointer"] == pointer
    assert (await bench.store.pauses(), await bench.audited()) == ({}, [])


async def test_a_resume_takes_no_body(bench: Bench) -> None:
    answer = await bench.call("POST", "/kinds/mail/resume", {"reason": "x"})
    assert answer.json["type"] == "/problems/unexpected-body"


async def test_without_its_audit_nothing_is_paused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(_: object) -> None:
        raise StoreUnavailable("no primary")

    monkeypatch.setattr(bench.store.audit(), "note", refused)
    for command in ("pause", "resume"):
        answer = await bench.call("POST", f"/kinds/mail/{command}")
        assert (answer.status, answer.json["type"]) == (503, "/problems/store-unreachable")
    assert await bench.store.pauses() == {}


async def test_without_mongodb_the_kinds_are_told_as_they_were_last_known(bench: Bench) -> None:
    await bench.call("POST", "/kinds/mail/pause", {"reason": "r"})
    before = await bench.kinds()
    bench.store.is_away = True
    assert await bench.kinds() == before


async def test_the_status_of_a_waiting_job_says_by_whom_its_kind_is_paused(bench: Bench) -> None:
    job, other = await queued(bench.store, kind="mail"), await queued(bench.store, kind="other")
    runs = await running(bench.store, kind="mail")
    bench.principal = Principal("default", "ann", frozenset(Permission))
    await bench.call("POST", "/kinds/mail/pause", {"reason": "maintenance"})
    bench.principal = None
    hint = (await bench.call("GET", f"/status/{job.id}")).json["hint"]
    assert hint == f"kind 'mail' is paused by ann since {rfc3339(AT)}: maintenance"
    assert "no worker" in (await bench.call("GET", f"/status/{other.id}")).json["hint"]
    assert "paused" not in (await bench.call("GET", f"/status/{runs.id}")).json["hint"]
    await bench.call("POST", "/kinds/mail/resume")
    assert "no worker" in (await bench.call("GET", f"/status/{job.id}")).json["hint"]


async def test_a_gauge_names_each_kind_that_is_paused(bench: Bench) -> None:
    def gauge(kind: str) -> float | None:
        return REGISTRY.get_sample_value("acked_kind_paused", {"kind": kind})

    assert gauge("mail") is None
    await bench.call("POST", "/kinds/mail/pause")
    await bench.call("POST", "/kinds/other/pause")
    assert (gauge("mail"), gauge("other")) == (1.0, 1.0)
    await bench.call("POST", "/kinds/mail/resume")
    assert (gauge("mail"), gauge("other")) == (None, 1.0)
    await bench.call("POST", "/kinds/other/resume")
    assert gauge("other") is None


async def test_the_pause_of_another_gateway_is_told_at_once(bench: Bench) -> None:
    await bench.kinds()
    pause = Pause("bob", None, None, AT)
    assert await bench.store.pause_kind("mail", pause) == KindPauses(pause)
    found = (await bench.kinds())["mail"]
    assert found is not None and found["client"] == "bob"
