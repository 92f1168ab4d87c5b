"""Real traffic against what the API documents say: no fault of the server, no answer that is not documented."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from schemathesis import checks
from schemathesis.core.failures import FailureGroup
from schemathesis.openapi.checks import JsonSchemaError
from schemathesis.specs.openapi import checks as openapi_checks

from acked_common.api.routes import EVENTS
from acked_common.http.probes import PROBE_PATHS
from support.api_documents import closed, operations, successes
from support.deliveries import ended_delivery
from support.freezing import freeze
from support.stacks import CENSUS_WITHIN_S, TestStack, eventually

# A stack of its own: the traffic sends the worker away, starts jobs that run for long, and goes without MongoDB.
ENVIRON: dict[str, str] = {}
OWN_SERVERS = True
"""MongoDB freezes."""
SERVICES = ("gateway", "intake")
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
SUPPORT = Path(__file__).resolve().parents[1]
BATCH = "openapi.batch-1"
# Seconds on a quiet machine.
BOUND_S = 300
EXAMPLES_AN_OPERATION = (8, pytest.param(30, marks=pytest.mark.long))
# Fails again after each retry; only a resolve as succeeded uses it up.
FAILS_ALWAYS = {"kind": "flaky", "payload": {"failures": 1000}, "max_attempts": 1}
REFUSED = {
    "gateway": {
        *("GET /jobs 422", "GET /jobs/{id} 404", "GET /status/{id} 404", "GET /load-test 422", "POST /load-test 422"),
        *("POST /jobs/{id}/cancel 409", "POST /jobs/{id}/retry 409", "POST /jobs/{id}/resolve 409"),
        *("POST /jobs/{id}/resolve 422", "GET /batches/{batch} 404", "PUT /jobs 405", "POST /workers 405"),
        *("POST /workers/{id}/drain 404", "GET /workers/{id}/drain 405", "GET /audit 422"),
        *("POST /jobs/{id}/run-now 409", "POST /jobs/{id}/erase 409", "POST /jobs/{id}/edit 409"),
        *("POST /jobs/{id}/edit 404", "POST /jobs/{id}/edit 422"),
        *("POST /bulk-actions 422", "GET /bulk-actions/{id} 404", "POST /bulk-actions/{id}/abort 404"),
        *("GET /attention 422", "POST /attention/{group} 404", "POST /attention/{group} 422"),
        *(
            "GET /timeseries/kinds 422",
            "GET /batches/{batch}/ends 404",
            "GET /kinds/{kind} 404",
            "POST /kinds/{kind}/jobs 404",
        ),
        *("POST /kinds/{kind}/pause 404", "POST /kinds/{kind}/pause 422", "POST /kinds/{kind}/resume 404"),
        *("POST /kinds/{kind}/limit 404", "POST /kinds/{kind}/limit 422", "POST /kinds/{kind}/unlimit 404"),
    },
    "intake": {
        "POST /process 400",
        "POST /process 415",
        "POST /process 422",
        "GET /process 405",
        "GET /status/{id} 404",
    },
}
"""Some of the refusals that the traffic must bring about: else it would prove little."""
STREAMS = {"GET /ws/feed 200"}
"""Responses without an end, which a test of their own reads."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service as its document describes it."""

    url: str
    document: dict[str, Any]

    def check(self, method: str, path: str, response: requests.Response) -> None:
        """Fails where the answer is not what the document says of this operation."""
        schema = schemathesis.openapi.from_dict(self.document)
        # What was sent does not matter to the checks, but a path has to be complete.
        sent = dict.fromkeys(re.findall(r"{(\w+)}", path), "x")
        case = schema[path][method].Case(path_parameters=sent)
        listed = [checks.not_a_server_error] if response.status_code < 500 else []
        listed += [getattr(openapi_checks, name) for name in CHECKS if name != "not_a_server_error"]
        case.validate_response(response, checks=listed)


@pytest.fixture(scope="module")
def services(stack: TestStack) -> dict[str, Service]:
    """Both services, by name."""
    found = {}
    for name, port in (("gateway", stack.gateway_port), ("intake", stack.intake_port)):
        response = stack.call("GET", "/openapi.json", to=name)
        assert response.status == 200
        found[name] = Service(f"http://127.0.0.1:{port}", closed(response.body))
    return found


@pytest.fixture(scope="module")
def traffic(stack: TestStack) -> dict[str, Any]:
    """Jobs in every state that a job may be in now, for `support/api_traffic.py`."""
    ended = [stack.process("test.echo", payload={"a": [1.5, None]}, batch=BATCH, tags=["t"])]
    ended += [stack.process("noop"), stack.process("test.fails", batch=BATCH)]
    failed = [stack.process(**FAILS_ALWAYS, batch=BATCH) for _ in range(24)]
    running = stack.process("test.steps", batch=BATCH)
    scheduled, cancelled = (stack.process("noop", delay_s=3600) for _ in range(2))
    assert stack.call("POST", f"/jobs/{cancelled}/cancel").status == 200
    for job in [*ended, *failed]:
        stack.finished(job)
    kept = stack.call("PUT", "/schedules/kept", {"cron": "0 0 1 1 *", "kind": "noop"})
    assert kept.status == 201, kept.raw
    quiet = {"url": "https://example.com/hook", "kinds": ["nobody"], "enabled": False}
    kept = stack.call("PUT", "/callback-endpoints/kept", quiet)
    assert kept.status == 201, kept.raw
    eventually(lambda: stack.status(running)["progress"], within_s=10, what="the running job has reported")
    secret = stack.call("POST", "/callback-secrets")
    assert secret.status == 201, secret.raw
    return {
        "ids": [*ended, running, scheduled, cancelled, *failed],
        "secret": secret.body["id"],
        "delivery": ended_delivery(stack),
        "live_ids": [stack.process("noop", delay_s=3600) for _ in range(8)],
        "live_id": stack.process("noop", delay_s=3600),
        "failed_ids": failed,
        "batch": BATCH,
        "bulk_ids": [_bulk_action(stack) for _ in range(3)],
        "groups": [
            group["group"] for group in eventually(lambda: _groups(stack), within_s=CENSUS_WITHIN_S, what="a census")
        ],
    }


def _bulk_action(stack: TestStack) -> str:
    """A bulk action that moves nothing."""
    body = {"action": "retry", "filter": {"batch": "nobody"}, "reason": "traffic"}
    response = stack.call("POST", "/bulk-actions", body)
    assert response.status == 202, response.raw
    return str(response.body["id"])


def _groups(stack: TestStack) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = stack.call("GET", "/attention").body["groups"]
    return groups


@pytest.mark.parametrize("examples", EXAMPLES_AN_OPERATION)
@pytest.mark.parametrize("name", SERVICES)
def test_generated_requests_are_answered_as_documented(
    name: str, examples: int, services: dict[str, Service], traffic: dict[str, Any], tmp_path: Path
) -> None:
    service, seen = services[name], tmp_path / "seen"
    (tmp_path / "document.json").write_text(json.dumps(service.document))
    (tmp_path / "traffic.json").write_text(json.dumps({**traffic, "seen": str(seen)}))
    # A process of its own: its interface for the command line is the one that it documents and keeps.
    command = [sys.executable, "-m", "schemathesis.cli", "run", "document.json", "--url", service.url]
    command += ["--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing"]
    command += ["--max-examples", str(examples), "--generation-deterministic", "--no-shrink"]
    command += ["--continue-on-failure", "--no-color", "--warnings", "off", "--suppress-health-check", "all"]
    environ = {
        **{key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")},
        "PYTHONPATH": str(SUPPORT),
        "SCHEMATHESIS_HOOKS": "support.api_traffic",
        "ACKED_TEST_TRAFFIC": str(tmp_path / "traffic.json"),
    }
    ran = subprocess.run(
        command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=BOUND_S, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    answered = set(seen.read_text().splitlines())
    assert (successes(service.document) - STREAMS) | REFUSED[name] <= answered
    assert not {line for line in answered if line.endswith(" 500")}


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"X-Large": "x" * 40_000}, 431),
        # Two hosts in one header are no name either.
        ({"Host": "a, b"}, 421),
    ],
)
def test_what_guards_refuse_is_documented(
    name: str, headers: dict[str, str], status: int, services: dict[str, Service]
) -> None:
    service = services[name]
    for method, path, _ in operations(service.document):
        if status == 403 and method == "GET" and path != "/load-test":
            continue
        # Probes come by any address.
        if status == 421 and path in PROBE_PATHS:
            continue
        response = requests.request(method, service.url + path, headers=headers, timeout=10)
        assert response.status_code == status, (method, path, response.text)
        service.check(method, path, response)


@pytest.mark.parametrize(
    "changed",
    [{"kinds": None}, {"unknown": 1}, {}],
    ids=["of another type", "with another member", "without a member"],
)
def test_response_that_was_changed_is_not_as_documented(changed: dict[str, Any], services: dict[str, Service]) -> None:
    service = services["gateway"]
    response = requests.get(f"{service.url}/kinds", timeout=10)
    service.check("GET", "/kinds", response)
    body = response.json() | changed if changed else {}
    response._content = json.dumps(body).encode()
    with pytest.raises(FailureGroup) as caught:
        service.check("GET", "/kinds", response)
    assert [type(failure) for failure in caught.value.exceptions] == [JsonSchemaError]


def test_event_stream_is_served_as_documented(services: dict[str, Service]) -> None:
    service, path, headers = services["gateway"], "/ws/feed", {"Accept": EVENTS}
    assert successes(service.document) >= STREAMS
    for query in ("", "?all=false", "?ids=1", "?unknown=1"):
        response = requests.get(service.url + path + query, headers=headers, timeout=10)
        assert response.status_code == 422
        service.check("GET", path, response)
    with requests.get(f"{service.url}{path}?all=true", headers=headers, timeout=10, stream=True) as response:
        assert response.status_code == 200
        assert [response.headers["Content-Type"]] == [
            *service.document["paths"][path]["get"]["responses"]["200"]["content"]
        ]
        assert next(response.iter_lines()).startswith(b"retry: ")


def test_without_the_database_every_answer_is_documented(stack: TestStack, services: dict[str, Service]) -> None:
    pid = stack.stack.parts.pid("mongod")
    freeze(pid)
    try:
        body = {"kind": "noop"}
        response = requests.post(f"{services['intake'].url}/process", json=body, timeout=10)
        assert response.status_code == 503
        services["intake"].check("POST", "/process", response)
        for name, path in (("gateway", "/jobs"), ("gateway", "/workers"), ("intake", "/status/{id}")):
            target = path.replace("{id}", "01a20d05-adf2-7315-9ee6-8162dae54aa3")
            response = requests.get(services[name].url + target, timeout=10)
            assert response.status_code == 503, (name, path)
            services[name].check("GET", path, response)
        for name in SERVICES:
            url = services[name].url + "/readyz"
            eventually(lambda url=url: requests.get(url, timeout=10).status_code == 503, within_s=15, what="not ready")
            services[name].check("GET", "/readyz", requests.get(url, timeout=10))
    finally:
        os.kill(pid, signal.SIGCONT)
    for name in SERVICES:
        url = services[name].url + "/readyz"
        eventually(lambda url=url: requests.get(url, timeout=10).status_code == 200, within_s=30, what="ready again")
