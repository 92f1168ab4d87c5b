"""Real traffic against what the API documents say: no fault of the server, no answer that is not documented."""

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
import schemathesis
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from support.api_documents import loaded
from support.stacks import TestStack, eventually

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# A load test of 100,000 and a poll of a minute are documented too; here they would only take time.
MOST_CALLS = 5
LONGEST_WAIT_S = 0.05
BATCH = "openapi.batch-1"
FAILED, LEFT, GONE = 3, 20, 60.0


@dataclass(slots=True)
class Traffic:
    """What the generated requests are sent to, and what was answered."""

    stack: TestStack
    ids: list[str]
    failed_ids: list[str]
    session: requests.Session = field(default_factory=requests.Session)
    seen: set[tuple[str, int]] = field(default_factory=set)

    def send(self, case: Case, headers: dict[str, str] | None = None) -> requests.Response:
        """Sends a request that was generated and checks the answer against the document."""
        self._aim(case)
        answer = case.call(session=self.session, headers=headers)
        self.seen.add((f"{case.method} {case.path}", answer.status_code))
        case.validate_response(answer, checks=CHECKS)
        return answer

    def _aim(self, case: Case) -> None:
        """Most requests go to jobs and kinds that are there; the choice follows from what was generated."""
        path, query = case.path_parameters or {}, case.query or {}
        draw = zlib.crc32(json.dumps([path, query], default=str).encode() + repr(case.body).encode())
        if "id" in path and draw % 4:
            ids = self.failed_ids if case.path.endswith(("retry", "resolve")) and draw % 3 else self.ids
            path["id"] = ids[draw % len(ids)]
        if "batch" in path and draw % 2:
            path["batch"] = BATCH
        if str(query.get("count", "")).isdecimal() and int(query["count"]) > MOST_CALLS:
            query["count"] = MOST_CALLS
        if case.path == "/load-test":
            query.setdefault("count", MOST_CALLS)
            query["kind"] = "noop" if draw % 2 else query.get("kind", "noop")
        if _number(query.get("wait_s")) > LONGEST_WAIT_S:
            query["wait_s"] = LONGEST_WAIT_S
        if isinstance(case.body, dict) and isinstance(case.body.get("kind"), str) and draw % 2:
            case.body["kind"] = "noop"


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


@pytest.fixture(scope="module")
def traffic(stack: TestStack) -> Iterator[Traffic]:
    """Jobs in every state that a job may be in, as many failed ones as commands may use up."""
    done = [stack.process("test.echo", payload={"a": [1.5, None]}, batch=BATCH, tags=["t"])]
    done += [stack.process("noop"), stack.process("flaky", payload={"failures": 1})]
    running = stack.process("test.steps", batch=BATCH)
    scheduled = stack.process("noop", delay_s=3600)
    cancelled = stack.process("noop", delay_s=3600)
    assert stack.call("POST", f"/jobs/{cancelled}/cancel").status == 200
    failed = [stack.process("test.permanent", batch=BATCH) for _ in range(FAILED)]
    for job in [*done, *failed]:
        stack.finished(job)
    eventually(lambda: stack.status(running)["progress"], within_s=10, what="the job has reported")
    with requests.Session() as session:
        session.trust_env = False
        yield Traffic(stack, [*done, running, scheduled, cancelled, *failed], failed, session)


@pytest.fixture(scope="module")
def gateway(stack: TestStack) -> BaseSchema:
    """The gateway's document."""
    return loaded(f"http://127.0.0.1:{stack.gateway_port}")


@pytest.fixture(scope="module")
def intake(stack: TestStack) -> BaseSchema:
    """Intake's document."""
    return loaded(f"http://127.0.0.1:{stack.intake_port}")


@schemathesis.pytest.from_fixture("gateway").parametrize()
def test_the_gateway_answers_as_documented(case: Case, traffic: Traffic) -> None:
    traffic.send(case)


@schemathesis.pytest.from_fixture("intake").parametrize()
def test_intake_answers_as_documented(case: Case, traffic: Traffic) -> None:
    traffic.send(case)


def test_print(traffic):
    for x in sorted(traffic.seen): print(x)
