"""Callback endpoints over HTTP: definitions and what is wrong with them, acts and their audit, bounds, permissions."""

import json
from typing import Any

import pytest
from starlette.applications import Starlette

from acked_common.http.exception_handlers import EXCEPTION_HANDLERS
from acked_common.model.call_targets import AllowedHosts
from acked_common.model.callback_endpoints import ACKED, MOST_OF_TENANT, Disabled, Endpoint, EndpointOutcomes, disable
from acked_common.model.callbacks import EVENTS
from acked_common.model.principal import SCOPE_KEY, Permission, Principal
from acked_gateway.audit.notes import Audit
from acked_gateway.callbacks.endpoint_acts import TRIES, EndpointActs
from acked_gateway.callbacks.endpoint_body import KNOWN_FIELDS
from acked_gateway.callbacks.endpoint_routes import endpoint_routes
from support.asgi import Answer, call
from support.factories import ManualClock
from support.memory_callback_endpoints import MemoryCallbackEndpoints
from support.memory_store import MemoryStore

URL = "https://example.com/hook"
PATH = "/callback-endpoints/billing"


class Overtaken(MemoryCallbackEndpoints):
    """Another process writes just ahead of each write, so many times."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    async def replace(self, endpoint: Endpoint, earlier: Endpoint) -> bool:
        if self.times:
            self.times -= 1
            return False
        return await super().replace(endpoint, earlier)


class Bench:
    """The routes over parts in memory, as one client calls them."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.endpoints = Overtaken()
        self.principal = Principal("acme", "ann", frozenset(Permission))
        audit = Audit(self.store.audit(), self.clock)
        acts = EndpointActs(self.endpoints, audit, self.clock, applies_after_s=0.0)
        routes = endpoint_routes(acts, AllowedHosts.parse("127.0.0.1"), self.clock)
        self._app = Starlette(routes=routes, exception_handlers=dict(EXCEPTION_HANDLERS))

    async def call(self, method: str, target: str = PATH, body: Any = None) -> Answer:
        sent = [] if body is None else [body if isinstance(body, bytes) else json.dumps(body).encode()]

        async def as_client(scope: Any, receive: Any, send: Any) -> None:
            await self._app({**scope, SCOPE_KEY: self.principal}, receive, send)

        return await call(as_client, method, target, *sent)

    async def put(self, name: str = "billing", **fields: Any) -> Answer:
        return await self.call("PUT", f"/callback-endpoints/{name}", {"url": URL, **fields})

    def audited(self) -> list[str]:
        return [entry.action for entry in self.store.audit().entries]


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_definition_comes_back_without_values_of_headers(bench: Bench) -> None:
    fields = {"events": ["job.failed"], "kinds": ["b", "a"], "headers": {"Authorization": "Bearer hidden"}}
    made = await bench.put(**fields)
    assert made.status == 201
    expected = {
        "name": "billing",
        "url": URL,
        "events": ["job.failed"],
        "kinds": ["a", "b"],
        "header_names": ["authorization"],
        "enabled": True,
        "state": "enabled",
        "disabled": None,
        "failing_since": None,
        "last_error": None,
        "revision": 1,
    }
    assert expected.items() <= made.json.items()
    assert (await bench.call("GET")).json == made.json
    assert (await bench.call("GET", "/callback-endpoints")).json == {"endpoints": [made.json]}
    assert b"hidden" not in made.body
    assert (await bench.put(**fields)).status == 200
    assert bench.audited() == ["callback_endpoint_put"]


async def test_definition_replaces_the_whole_but_headers(bench: Bench) -> None:
    await bench.put(kinds=["a"], headers={"x": "1"})
    changed = (await bench.put()).json
    assert (changed["kinds"], changed["header_names"], changed["revision"]) == ([], ["x"], 2)
    assert changed["events"] == list(EVENTS)
    assert (await bench.put(headers={})).json["header_names"] == []


async def test_endpoint_is_disabled_and_enabled(bench: Bench) -> None:
    await bench.put()
    off = await bench.call("POST", f"{PATH}/disable", {"reason": "moves"})
    assert (off.json["enabled"], off.json["state"], off.json["revision"]) == (False, "off", 2)
    assert (off.json["disabled"]["by"], off.json["disabled"]["reason"]) == ("ann", "moves")
    assert (await bench.call("POST", f"{PATH}/disable")).json == off.json
    assert (await bench.put()).json == off.json
    on = await bench.call("POST", f"{PATH}/enable")
    assert (on.json["enabled"], on.json["disabled"], on.json["revision"]) == (True, None, 3)
    assert (await bench.call("POST", f"{PATH}/enable")).json == on.json
    assert (await bench.put(enabled=False)).json["state"] == "off"
    assert (await bench.put(enabled=True)).json["state"] == "enabled"
    assert bench.audited() == [
        *("callback_endpoint_put", "callback_endpoint_disable", "callback_endpoint_enable"),
        *("callback_endpoint_put", "callback_endpoint_put"),
    ]


async def test_endpoint_that_acked_has_disabled_is_enabled_anew(bench: Bench) -> None:
    await bench.put()
    at = bench.clock.now()
    await bench.endpoints.note([EndpointOutcomes("acme", "billing", 1, failed_at=at, gone_at=at, error="410")])
    assert (await bench.call("GET")).json["enabled"] is False
    found = await bench.endpoints.get("billing", tenant="acme")
    assert found is not None
    await bench.endpoints.replace(disable(found, Disabled(at, ACKED, "gone")), found)
    shown = (await bench.call("GET")).json
    assert (shown["state"], shown["disabled"]["by"], shown["last_error"]) == ("disabled", "acked", "410")
    on = (await bench.call("POST", f"{PATH}/enable")).json
    assert (on["state"], on["failing_since"], on["last_error"]) == ("enabled", None, None)


async def test_endpoint_is_deleted(bench: Bench) -> None:
    made = await bench.put()
    assert (await bench.call("DELETE")).json == made.json
    for method, target in (("GET", PATH), ("DELETE", PATH), ("POST", f"{PATH}/enable"), ("POST", f"{PATH}/disable")):
        gone = await bench.call(method, target)
        assert (gone.status, gone.json["type"]) == (404, "/problems/not-found")
    assert bench.audited() == ["callback_endpoint_put", "callback_endpoint_delete"]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"url": None}, "/url"),
        ({"url": "http://example.com"}, "/url"),
        ({"url": "https://169.254.169.254/"}, "/url"),
        ({"url": "https://localhost/"}, "/url"),
        ({"events": []}, "/events"),
        ({"kinds": ["acked.callback"]}, "/kinds/0"),
        ({"headers": {"host": "x"}}, "/headers/host"),
        ({"enabled": "yes"}, "/enabled"),
    ],
)
async def test_field_that_cannot_be_used_is_refused(bench: Bench, fields: dict[str, Any], pointer: str) -> None:
    refused = await bench.put(**fields)
    assert (refused.status, refused.json["type"]) == (422, "/problems/invalid-field")
    assert [error["pointer"] for error in refused.json["errors"]] == [pointer]
    assert await bench.endpoints.all() == []


async def test_unknown_input_is_refused(bench: Bench) -> None:
    unknown = await bench.put(event="job.failed")
    assert (unknown.status, unknown.json["known_fields"]) == (422, list(KNOWN_FIELDS))
    assert (await bench.call("PUT", PATH, [1])).status == 422
    assert (await bench.call("PUT", PATH, b"{")).status == 400
    assert (await bench.put("Big.Name")).status == 422
    assert (await bench.call("POST", f"{PATH}/disable", {"why": "x"})).status == 422
    assert bench.audited() == []


async def test_allowed_host_may_be_private(bench: Bench) -> None:
    assert (await bench.put(url="http://127.0.0.1:9/hook")).status == 201


async def test_number_of_endpoints_is_bounded(bench: Bench) -> None:
    for number in range(MOST_OF_TENANT):
        assert (await bench.put(f"e{number}")).status == 201
    refused = await bench.put("more")
    assert (refused.status, refused.json["type"]) == (429, "/problems/too-many-callback-endpoints")
    assert (await bench.put("e1", kinds=["a"])).status == 200


async def test_act_that_is_overtaken_is_tried_again(bench: Bench) -> None:
    await bench.put()
    bench.endpoints.times = TRIES - 1
    assert (await bench.call("POST", f"{PATH}/disable")).status == 200
    bench.endpoints.times = TRIES
    overtaken = await bench.call("POST", f"{PATH}/enable")
    assert (overtaken.status, overtaken.json["type"]) == (503, "/problems/busy")
    bench.endpoints.times = TRIES
    assert (await bench.put(kinds=["a"])).status == 503


async def test_tenants_do_not_see_each_others_endpoints(bench: Bench) -> None:
    await bench.put()
    bench.principal = Principal("globex", "bob", frozenset(Permission))
    assert (await bench.call("GET")).status == 404
    assert (await bench.call("GET", "/callback-endpoints")).json == {"endpoints": []}
    assert (await bench.call("DELETE")).status == 404
