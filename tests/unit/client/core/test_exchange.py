"""One call: what is sent again, with which key, and what is raised in the end."""

import pickle

import pytest

from acked_client import AccessDenied, AckedError, NoResponse, RetryPolicy, Submission, UnexpectedResponse, problems
from acked_client.core import jobs
from acked_client.core.effects import Lost, Request, Response
from acked_client.core.exchange import exchange
from support.client_flows import ACCEPTED, LOST, NEVER_SENT, Answer, Script, ok, refused, session

GET = Request("GET", "/jobs")


def test_submission_is_repeated_with_the_same_key_and_bytes() -> None:
    answers = [LOST, refused("busy", 503, retry_after=2), NEVER_SENT, refused("rate-limited", 429, retry_after=1)]
    script = Script([*answers, refused("slow-body", 408), Response(502), Response(504), ok(ACCEPTED, 202)])
    ours = session()
    request = jobs.submit_request(Submission(kind="hello", payload={"name": "Ada"}), ours.new_key)
    submitted = script.run(jobs.submit(ours, request))
    assert submitted.idempotency_key == "key-1" and submitted.accepted.id == ACCEPTED["id"]
    assert {(sent.idempotency_key, sent.body) for sent in script.requests} == {
        ("key-1", b'{"kind":"hello","payload":{"name":"Ada"}}')
    }
    assert len(script.sent) == 8 and script.pauses[1] >= 2 and script.pauses[3] >= 1


def test_refusal_is_raised_at_once_as_its_class() -> None:
    script = Script([refused("unknown-kind", 422, known_kinds=["demo"], errors=[{"pointer": "/kind", "detail": "no"}])])
    ours = session()
    request = jobs.submit_request(Submission(kind="helo"), ours.new_key)
    with pytest.raises(problems.UnknownKind) as caught:
        script.run(jobs.submit(ours, request))
    error = caught.value
    assert (error.status, error.problem.name, error.idempotency_key) == (422, "unknown-kind", "key-1")
    assert error.problem.members == {"known_kinds": ["demo"]} and error.problem.errors[0].pointer == "/kind"
    assert "key-1" in str(error) and "/kind: no" in str(error)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - its own
    assert type(copy) is type(error) and str(copy) == str(error) and copy.problem == error.problem


def test_budget_ends_repetitions_with_the_last_error() -> None:
    script = Script(lambda _: refused("store-unreachable", 503, retry_after=7), took_s=1.0)
    with pytest.raises(problems.StoreUnreachable) as caught:
        script.run(exchange(session(RetryPolicy(budget_s=60)), GET))
    assert caught.value.retry_after_s == 7
    assert 30 < sum(script.pauses) + len(script.sent) <= 61
    assert all(pause >= 7 for pause in script.pauses)


def test_wait_beyond_the_budget_is_not_begun() -> None:
    script = Script([refused("quota-exceeded", 503, retry_after=61)])
    with pytest.raises(problems.QuotaExceeded):
        script.run(exchange(session(), GET))
    assert script.pauses == []


def test_budget_of_zero_repeats_nothing() -> None:
    script = Script([NEVER_SENT])
    with pytest.raises(NoResponse) as caught:
        script.run(exchange(session(RetryPolicy(budget_s=0)), GET))
    assert not caught.value.may_have_arrived and len(script.sent) == 1


def test_certificate_that_is_not_trusted_is_final() -> None:
    script = Script([Lost("certificate verify failed", may_have_arrived=False, is_final=True)])
    with pytest.raises(NoResponse, match="certificate"):
        script.run(exchange(session(), GET))


def test_response_of_another_server_is_told_apart() -> None:
    for answer in (Response(200, {}, b"<html>"), Response(302, {"location": "/login"}), Response(404, {}, b"nginx")):
        ours = session()
        request = jobs.submit_request(Submission(kind="hello"), ours.new_key)
        with pytest.raises(UnexpectedResponse) as caught:
            Script([answer]).run(jobs.submit(ours, request))
        assert caught.value.status == answer.status and caught.value.idempotency_key == "key-1"


def test_problem_of_a_newer_server_has_the_class_of_its_status() -> None:
    for status, kind in ((401, AccessDenied), (404, problems.NotFound), (409, problems.Conflict)):
        with pytest.raises(kind):
            Script([refused("brand-new", status)]).run(exchange(session(), GET))
    with pytest.raises(problems.InvalidRequest):
        Script([refused("brand-new", 418)]).run(exchange(session(), GET))
    with pytest.raises(AckedError):
        Script([refused("brand-new", 599)]).run(exchange(session(), GET))


def test_gateway_names_intake_once() -> None:
    ours = session(intake=None)
    url = "http://gateway:8081/process"
    script = Script([refused("not-found", 404, url=url), ok(ACCEPTED, 202), ok(ACCEPTED, 202)])
    for _ in range(2):
        script.run(jobs.submit(ours, jobs.submit_request(Submission(kind="hello"), ours.new_key)))
    assert [sent.base_url for sent in script.sent] == ["http://gateway", "http://gateway:8081", "http://gateway:8081"]
    assert [sent.request.idempotency_key for sent in script.sent] == ["key-1", "key-1", "key-2"]


def test_intake_that_another_thread_has_learned_is_used() -> None:
    ours = session(intake=None)

    def answer(request: Request) -> Answer:
        if ours.intake is None:
            ours.intake = "http://gateway:8081"
            return refused("not-found", 404, url="http://gateway:8081/process")
        return ok(ACCEPTED, 202)

    script = Script(answer)
    script.run(jobs.submit(ours, jobs.submit_request(Submission(kind="hello"), ours.new_key)))
    assert [sent.base_url for sent in script.sent] == ["http://gateway", "http://gateway:8081"]


def test_intake_that_does_not_serve_its_path_is_asked_once() -> None:
    script = Script([refused("not-found", 404, url="http://intake/process")])
    ours = session()
    with pytest.raises(problems.NotFound):
        script.run(jobs.submit(ours, jobs.submit_request(Submission(kind="hello"), ours.new_key)))


@pytest.mark.parametrize("url", ["http://elsewhere:8081/process", "https://gateway/process", "ftp://gateway/process"])
def test_token_is_sent_to_no_other_host(url: str) -> None:
    ours = session(intake=None)
    script = Script([refused("not-found", 404, url=url)])
    with pytest.raises(UnexpectedResponse, match="intake="):
        script.run(jobs.submit(ours, jobs.submit_request(Submission(kind="hello"), ours.new_key)))


def test_repeated_request_does_not_outlast_the_budget() -> None:
    script = Script(lambda _: LOST, took_s=25.0)
    with pytest.raises(NoResponse):
        script.run(exchange(session(RetryPolicy(budget_s=60, request_s=30)), GET))
    assert script.sent[0].timeout_s == 30
    assert script.sent[-1].timeout_s < 11
