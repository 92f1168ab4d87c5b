"""Without tokens everybody is one client: it may hold the whole, and health and status go on."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from support.access import Client, problem_name
from support.holders import asking, half_requests, head, neighbour, refusals
from support.stacks import TestStack, eventually

pytestmark = pytest.mark.alone

CONNECTIONS = 400
POLLS = CONNECTIONS * 3 // 4
ENVIRON = {"ACKED_MAX_CONNECTIONS": str(CONNECTIONS)}


def test_long_polls_of_everybody_leave_health_and_status(stack: TestStack) -> None:
    anybody = Client(stack, "")
    job_id = stack.process("noop", delay_s=3600)
    poll = head(anybody, f"GET /status/{job_id}?wait_s=60")
    with half_requests(stack.gateway_port, [poll] * (CONNECTIONS + 50)) as lines:
        eventually(
            lambda: stack.metric("acked_limit_held", '{limit="long-polls"}') == POLLS, within_s=20, what="all are held"
        )
        for path in ("/healthz", "/readyz", f"/status/{job_id}"):
            answers, longest_s = neighbour(asking(anybody, "GET", path))
            assert answers.keys() == {"200"}, path
            assert longest_s < 5
        answer = anybody.call("GET", f"/status/{job_id}?wait_s=1")
        assert (answer.status, problem_name(answer), answer.body["limit"]) == (503, "busy", "long-polls")
        assert answer.headers["retry-after"] == "1"
        assert refusals(lines).keys() == {"busy"}
    eventually(
        lambda: stack.metric("acked_limit_held", '{limit="long-polls"}') == 0, within_s=20, what="all are given back"
    )


def test_two_load_tests_at_once_are_refused_nothing(stack: TestStack) -> None:
    with ThreadPoolExecutor(2) as pool:
        tests = [pool.submit(stack.call, "POST", "/load-test?count=1000&kind=noop") for _ in range(2)]
        assert [(test.result().status, test.result().body["persisted"]) for test in tests] == [(200, 1000)] * 2
