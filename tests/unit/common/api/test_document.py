"""The OpenAPI document as it is made of operations."""

from typing import Annotated, Any, TypedDict

import pytest
from msgspec import Meta

from acked_common.api.document import About, make_document
from acked_common.api.representations import JobStatus
from acked_common.api.routes import (
    ALWAYS,
    JSON,
    OF_CHANGES,
    OF_LIMITED,
    OF_TOKENS,
    ApiResponse,
    ApiRoute,
    Body,
    Header,
    Link,
    Operation,
    Parameter,
)
from acked_common.http.problem_catalogue import CATALOGUE
from acked_common.model.lifecycle import Reason, State
from acked_common.model.principal import Permission

ABOUT = About(title="Test", description="What it is.", tags={"T": "t"})


class Thing(TypedDict):
    """A thing."""

    size: Annotated[int, Meta(ge=1, le=9)]


class More(TypedDict):
    """What one service's problem tells."""

    extra: str


def operation(**fields: Any) -> Operation:
    """An operation on `/things`."""
    answers = (ApiResponse(description="Done.", media={JSON: Thing}),)
    given = {"id": "a", "path": "/things", "tag": "T", "summary": "S", "answers": answers, "permission": None, **fields}
    return Operation(**given)


def described(one: Operation, about: About = ABOUT) -> dict[str, Any]:
    document = make_document(about, [one])
    found: dict[str, Any] = document["paths"][one.path][one.method.lower()]
    return found


def names(response: dict[str, Any], document: dict[str, Any]) -> set[str]:
    """The problems of a response."""
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
    schema = response["content"]["application/problem+json"]["schema"]
    found = set()
    for reference in schema.get("oneOf", [schema]):
        problem = document["components"]["schemas"][reference["$ref"].rpartition("/")[2]]
        found.add(problem["allOf"][1]["properties"]["type"]["const"].rpartition("/")[2])
    return found


@pytest.mark.parametrize(
    ("one", "also"),
    [
        (operation(), ()),
        (operation(problems=("busy", "not-accepted", "wrong-state")), ("busy", "not-accepted", "wrong-state")),
        (operation(method="POST"), OF_CHANGES),
        (operation(is_change=True), OF_CHANGES),
        (operation(permission=Permission.READ), OF_TOKENS),
        (
            operation(path="/things/{id}", parameters=(Parameter(name="id", place="path", type=str, description="d"),)),
            ("not-found",),
        ),
    ],
)
def test_problems_stand_under_their_status(one: Operation, also: tuple[str, ...]) -> None:
    document = make_document(ABOUT, [one])
    responses = document["paths"][one.path][one.method.lower()]["responses"]
    found = {
        name: int(status) for status in responses if status != "200" for name in names(responses[status], document)
    }
    assert found == {name: CATALOGUE[name].status for name in (*ALWAYS, *OF_LIMITED, "unexpected-body", *also)}


def test_health_is_told_to_anybody_at_any_time() -> None:
    assert not set(OF_LIMITED) & set(operation(is_limited=False).all_problems)


def test_an_operation_says_what_a_token_must_allow() -> None:
    document = make_document(ABOUT, [operation(permission=Permission.OPERATE)])
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert document["paths"]["/things"]["get"]["security"] == [{"token": ["operate"]}]
    assert document["paths"]["/things"]["get"]["responses"]["401"]["headers"]["WWW-Authenticate"]["required"] is True
    assert described(operation())["security"] == [], "everybody may"


def test_problems_that_say_when_to_come_back_carry_the_header() -> None:
    responses = described(operation(problems=("busy", "not-accepted")))["responses"]
    assert responses["503"]["headers"]["Retry-After"]["required"] is True
    limited = responses["429"]["headers"]
    assert {name: header["required"] for name, header in limited.items()} == {
        "Retry-After": True,
        "RateLimit": False,
        "RateLimit-Policy": False,
    }
    document = make_document(ABOUT, [operation()])
    assert document["components"]["responses"]["method-not-allowed"]["headers"]["Allow"]["required"] is True


def test_members_of_a_problem_are_typed_where_a_service_gives_them() -> None:
    about = About(title="Test", description="", tags={}, problem_members={"busy": More})
    document = make_document(about, [operation(problems=("busy",))])
    schemas = document["components"]["schemas"]
    assert schemas["BusyProblem"]["allOf"][-1] == {"$ref": "#/components/schemas/More"}
    assert schemas["More"]["required"] == ["extra"]


def test_limits_of_types_are_limits_of_the_document() -> None:
    one = operation(
        method="POST",
        parameters=(
            Parameter(name="n", place="query", type=Annotated[float, Meta(le=60.0)], description="d", example=1.5),
        ),
        body=Body(type=Thing, description="b", required=True, examples={"small": {"size": 1}}),
    )
    found = described(one)
    (parameter,) = found["parameters"]
    assert parameter["schema"] == {"type": "number", "maximum": 60.0}
    assert (parameter["required"], parameter["example"]) == (False, 1.5)
    assert found["requestBody"]["content"][JSON]["examples"] == {"small": {"value": {"size": 1}}}
    size = make_document(ABOUT, [one])["components"]["schemas"]["Thing"]["properties"]["size"]
    assert (size["minimum"], size["maximum"]) == (1, 9)


def test_an_answer_has_its_headers_and_leads_on() -> None:
    link = Link(operation="a", parameters={"n": "$response.body#/size"}, description="again")
    header = Header(type=int, description="h")
    answer = ApiResponse(
        status=202, description="Later.", media={JSON: Thing}, headers={"Retry-After": header}, links={"again": link}
    )
    found = described(operation(answers=(answer,)))["responses"]["202"]
    assert found["headers"]["Retry-After"]["schema"] == {"type": "integer"}
    assert found["links"]["again"]["operationId"] == "a"


def test_an_answer_can_not_be_a_problem_too() -> None:
    ready = ApiResponse(status=503, description="Not ready.", media={JSON: Thing})
    with pytest.raises(ValueError, match="503 in two ways"):
        make_document(ABOUT, [operation(answers=(ready,), problems=("busy",))])


def test_states_are_closed_and_reasons_are_open() -> None:
    schemas = make_document(ABOUT, [operation(answers=(ApiResponse(description="d", media={JSON: JobStatus}),))])
    job = schemas["components"]["schemas"]["JobStatus"]["properties"]
    assert job["state"] == {"$ref": "#/components/schemas/State"}
    assert set(schemas["components"]["schemas"]["State"]["enum"]) == set(State)
    assert job["reason"]["anyOf"] == [{"enum": list(Reason)}, {"type": "string"}]


def test_a_route_serves_the_methods_of_its_operations() -> None:
    async def view(_: Any) -> Any:
        return None

    route = ApiRoute(view, operation(), operation(id="b", method="POST"))
    assert (route.path, route.methods) == ("/things", {"GET", "HEAD", "POST"})
    with pytest.raises(ValueError, match="too many values"):
        ApiRoute(view, operation(), operation(path="/others"))
