"""Callback endpoints: what is sent, and requests whose responses were lost."""

import json

import pytest

from acked_client import CallbackEndpointDefinition, problems
from acked_client.core import callback_endpoints
from support.client_flows import LOST, STATUS, Script, callback_endpoint, ok, refused, session

URL = "https://hooks.example/x"
PATH = "/callback-endpoints/billing"


@pytest.mark.parametrize(
    ("definition", "sent"),
    [
        (CallbackEndpointDefinition(url=URL), {"url": URL}),
        (
            CallbackEndpointDefinition(
                url=URL, events=["job.failed"], kinds=("mail",), headers={"a": "b"}, enabled=False
            ),
            {"url": URL, "events": ["job.failed"], "kinds": ["mail"], "headers": {"a": "b"}, "enabled": False},
        ),
        (CallbackEndpointDefinition(url=URL, headers={}), {"url": URL, "headers": {}}),
    ],
    ids=["url", "whole", "no-headers"],
)
def test_definition_is_sent_again_after_a_loss(definition: CallbackEndpointDefinition, sent: object) -> None:
    script = Script([LOST, ok(callback_endpoint(), 201)])
    assert script.run(callback_endpoints.put(session(), "billing", definition)).name == "billing"
    first, second = script.requests
    assert first == second and (first.method, first.path) == ("PUT", PATH)
    assert json.loads(first.body or b"") == sent


def test_definition_hides_headers_and_refuses_a_string_of_several() -> None:
    definition = CallbackEndpointDefinition(url=URL, headers={"authorization": "Bearer hidden"})
    assert "hidden" not in repr(definition)
    for wrong in (
        CallbackEndpointDefinition(url=URL, events="job.failed"),
        CallbackEndpointDefinition(url=URL, kinds="mail"),
    ):
        with pytest.raises(TypeError):
            wrong.members()


def test_endpoints_are_listed_and_read() -> None:
    script = Script([ok({"endpoints": [callback_endpoint()]}), ok(callback_endpoint(name="../jobs"))])
    (found,) = script.run(callback_endpoints.endpoints(session()))
    assert found.disabled is not None and (found.disabled.by, found.state) == ("acked", "disabled")
    script.run(callback_endpoints.endpoint(session(), "../jobs"))
    assert [request.path for request in script.requests] == ["/callback-endpoints", "/callback-endpoints/..%2Fjobs"]


def test_acts_are_sent_again_after_a_loss() -> None:
    script = Script([LOST, ok(callback_endpoint()), LOST, ok(callback_endpoint())])
    script.run(callback_endpoints.enable(session(), "billing"))
    script.run(callback_endpoints.disable(session(), "billing", "moves"))
    assert [request.path for request in script.requests] == [f"{PATH}/enable"] * 2 + [f"{PATH}/disable"] * 2
    assert json.loads(script.requests[-1].body or b"") == {"reason": "moves"}


def test_delete_is_not_repeated_once_the_endpoint_is_gone() -> None:
    script = Script([ok(callback_endpoint()), LOST, refused("not-found", 404)])
    assert script.run(callback_endpoints.delete(session(), "billing")).revision == 2
    assert [request.method for request in script.requests] == ["GET", "DELETE", "GET"]


def test_delete_leaves_an_endpoint_that_was_made_since() -> None:
    later = callback_endpoint(made_at="2026-12-01T00:00:00.000Z")
    script = Script([ok(callback_endpoint()), LOST, ok(later)])
    assert script.run(callback_endpoints.delete(session(), "billing")).made_at.year == int(STATUS["accepted_at"][:4])
    script = Script([ok(callback_endpoint()), LOST, ok(callback_endpoint()), ok(callback_endpoint())])
    script.run(callback_endpoints.delete(session(), "billing"))
    assert [request.method for request in script.requests] == ["GET", "DELETE", "GET", "DELETE"]


def test_endpoint_that_is_unknown_is_the_problem() -> None:
    with pytest.raises(problems.NotFound):
        Script([refused("not-found", 404)]).run(callback_endpoints.endpoint(session(), "billing"))
