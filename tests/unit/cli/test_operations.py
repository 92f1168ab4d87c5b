"""Every operation of the API has a call of the client and a verb of the command line, or a reason why it has none."""

from collections.abc import Mapping

import pytest

from acked_client import Acked, RetryPolicy
from acked_common.api.routes import ApiRoute, Operation
from acked_common.runtime.env import Env
from acked_gateway import app as gateway
from acked_gateway.settings import read_settings as read_gateway_settings
from acked_intake import app as intake
from acked_intake.settings import read_settings as read_intake_settings
from support.cli import Received, Server, acked
from support.client_flows import STATUS, callback_endpoint, delivery, firing, schedule, status

ID = STATUS["id"]
OF_VERBS: Mapping[str, str] = {
    "abortBulkAction": f"bulk-actions abort {ID}",
    "backfillSchedule": "schedules backfill nightly --from 2026-11-01T00:00:00Z",
    "cancelJob": f"cancel {ID}",
    "deleteCallbackEndpoint": "callback-endpoints delete billing",
    "deleteSchedule": "schedules delete nightly",
    "disableCallbackEndpoint": "callback-endpoints disable billing",
    "drainWorker": "workers drain worker-1",
    "editJob": f"edit {ID} -p {{}}",
    "enableCallbackEndpoint": "callback-endpoints enable billing",
    "endCallbackSecret": "callback-secrets end cs_1",
    "eraseJob": f"erase {ID}",
    # By the WebSocket of the path; the event stream is for programs without one.
    "followFeed": f"watch {ID}",
    "getApiDocument": "doctor",
    "getBatch": "batch nightly",
    "getBulkAction": f"bulk-actions show {ID}",
    "getCallbackEndpoint": "callback-endpoints show billing",
    "getJob": f"show {ID}",
    "getKind": "kinds hello",
    "getReadiness": "doctor",
    "getSchedule": "schedules show nightly",
    "getStatus": f"status {ID}",
    "limitKind": "limit hello --running 3",
    "listAttention": "attention",
    "listAudit": "audit",
    "listBatches": "batch",
    "listBulkActions": "bulk-actions",
    "listCallbackEndpoints": "callback-endpoints",
    "listCallbackSecrets": "callback-secrets",
    "listCallbacks": f"callbacks {ID}",
    "listDeliveries": "callbacks --state failed",
    "listFirings": "schedules firings nightly",
    "listJobs": "jobs",
    "listKinds": "kinds",
    "listSchedules": "schedules",
    "listSignals": f"signals {ID}",
    "listSteps": f"steps {ID}",
    "listTokens": "doctor",
    "listWorkers": "workers",
    "makeCallbackSecret": "callback-secrets make",
    "noteAttention": "attention note 1f3a5b7c9d1e --take",
    "pauseKind": "pause hello",
    "pauseSchedule": "schedules pause nightly",
    "previewDefinition": "schedules put nightly hello --cron @daily --dry-run",
    "previewSchedule": "schedules next nightly",
    "process": "submit hello",
    "putCallbackEndpoint": "callback-endpoints put billing https://hooks.example/x",
    "putSchedule": "schedules put nightly hello --cron @daily",
    "resendCallback": f"resend {ID}",
    "resolveJob": f"resolve {ID} --as succeeded",
    "resumeKind": "resume hello",
    "resumeSchedule": "schedules resume nightly",
    "retryJob": f"retry {ID}",
    "runJobNow": f"run-now {ID}",
    "runSchedule": "schedules run-now nightly",
    "sendSignal": f"signal {ID} paid",
    "startBulkAction": "retry --where state=failed --yes",
    "unlimitKind": "unlimit hello",
}
"""The verb that sends a request of each operation. It calls the client, so this shows its call too."""
OF_CLIENT: Mapping[str, str] = {"getBacklog": "backlog", "listKindTotals": "totals"}
"""Calls of the client that `acked top` shows, which needs a terminal."""
WITHOUT: Mapping[str, str] = {
    "getBatchEnds": "the plot of a page; acked batch has the counts",
    "getHealth": "for load balancers; acked doctor looks at /readyz, which says more",
    "getIcon": "for browsers",
    "getIndexPage": "for browsers",
    "getMetrics": "for Prometheus",
    "getPagePart": "for browsers",
    "getProblem": "for people who follow the link of a problem",
    "getTimeseries": "the plots of pages; scripts that measure scrape /metrics",
    "loadTest": "for its page and curl, which it is documented for",
    "sendJob": "for pages, whose browsers call no other origin; programs use POST /process",
    "startLoadTest": "for its page and curl, which it is documented for",
}
"""Operations without a call, and why."""


@pytest.fixture(scope="module")
def operations() -> dict[str, Operation]:
    """The operations of both services by their ids."""
    applications = (
        gateway.create_app(read_gateway_settings(Env({}))),
        intake.create_app(read_intake_settings(Env({}))),
    )
    routes = [route for application in applications for route in application.routes if isinstance(route, ApiRoute)]
    return {operation.id: operation for route in routes for operation in route.operations}


def is_of(operation: Operation, request: Received) -> bool:
    """Whether the request is one of the operation: each parameter stands for one part of its path."""
    wanted, path = operation.path.split("/"), request.path.partition("?")[0].split("/")
    return (request.method, len(path)) == (operation.method, len(wanted)) and all(
        part.startswith("{") or part == found for part, found in zip(wanted, path, strict=True)
    )


@pytest.fixture
def answering(server: Server) -> Server:
    """A server with what verbs read before their request."""
    server.on("GET", f"/jobs/{ID}/callbacks", {"deliveries": [delivery()], "next_page_token": ""})
    server.on("GET", f"/status/{ID}", status(state="failed"))
    server.on("GET", "/callback-secrets", {"secrets": []})
    server.on("GET", "/callback-endpoints/billing", callback_endpoint())
    server.on("GET", "/schedules/nightly", schedule())
    server.on("GET", "/schedules/nightly/firings", {"firings": [firing()]})
    server.on("GET", "/backlog", {"counted_at": None, "kinds": [], "inexact_states": []})
    server.on("GET", "/timeseries/kinds", {"window": "1h", "since": STATUS["accepted_at"], "kinds": []})
    server.on("GET", "/readyz", {"status": "ready", "parts": {}})
    return server


def test_each_operation_is_called_or_excused(operations: dict[str, Operation]) -> None:
    tables = (OF_VERBS, OF_CLIENT, WITHOUT)
    named = [name for table in tables for name in table]
    assert len(named) == len(set(named)), "each stands in one table"
    assert set(named) == operations.keys()


@pytest.mark.parametrize("name", OF_VERBS)
def test_verb_sends_a_request_of(name: str, answering: Server, operations: dict[str, Operation]) -> None:
    acked(*OF_VERBS[name].split(), "--retry-for", "0")
    sent = [(request.method, request.path) for request in answering.received]
    assert any(is_of(operations[name], request) for request in answering.received), sent


@pytest.mark.parametrize("name", OF_CLIENT)
def test_call_of_the_client_sends_a_request_of(name: str, answering: Server, operations: dict[str, Operation]) -> None:
    with Acked(answering.url, retry=RetryPolicy(budget_s=0)) as client:
        assert getattr(client, OF_CLIENT[name])().kinds == []
    assert [is_of(operations[name], request) for request in answering.received] == [True]
