"""The API documents against the routes that are served, the problems that there are, and docs/api.md."""

import ast
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute

from acked import definition
from acked_common.api.problem_types import MEMBERS, ProblemDocument
from acked_common.api.routes import OF_JSON_BODIES, ApiRoute
from acked_common.http.problem_catalogue import CATALOGUE
from acked_common.model import names
from acked_common.runtime.env import Env
from acked_gateway import app as gateway
from acked_gateway.document import ABOUT as GATEWAY
from acked_gateway.settings import read_settings as read_gateway_settings
from acked_intake import app as intake
from acked_intake.settings import read_settings as read_intake_settings
from support.api_documents import operations
from support.asgi import call

ROOT = Path(__file__).resolve().parents[2]
COMMON = ROOT / "libs/common/src/acked_common"
# Answers on WebSockets, which OpenAPI can't describe.
OF_WEBSOCKETS = {"bad-message", "no-worker-secret", "wrong-worker-secret"}


def make(service: str) -> Starlette:
    if service == "gateway":
        return gateway.create_app(read_gateway_settings(Env({})))
    return intake.create_app(read_intake_settings(Env({})))


@pytest.fixture(params=["gateway", "intake"])
async def served(request: pytest.FixtureRequest) -> tuple[Starlette, dict[str, Any]]:
    """An application and its document."""
    application = make(request.param)
    answer = await call(application, "GET", "/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    return application, answer.json


def test_each_route_is_described_and_nothing_else(served: tuple[Starlette, dict[str, Any]]) -> None:
    application, document = served
    found: set[tuple[str, str]] = set()
    for route in application.routes:
        if isinstance(route, WebSocketRoute):
            assert route.path in document["info"]["description"]
            continue
        assert isinstance(route, Route)
        assert isinstance(route, ApiRoute), f"{route.path} has no operations"
        # An application of its own answers every method; what it serves is what it says.
        methods = route.methods or {operation.method for operation in route.operations}
        found |= {(method, route.path) for method in methods - {"HEAD"}}
    assert found == {(method, path) for method, path, _ in operations(document)}


async def test_methods_that_are_not_described_are_not_served(served: tuple[Starlette, dict[str, Any]]) -> None:
    application, document = served
    for path, methods in document["paths"].items():
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
            if method.lower() in methods:
                continue
            answer = await call(application, method, path)
            assert (answer.status, answer.json["type"]) == (405, "/problems/method-not-allowed"), (method, path)
            assert {name.lower() for name in answer.headers["allow"].split(", ")} - {"head"} == set(methods)


def test_the_document_fits_the_schema_of_openapi(served: tuple[Starlette, dict[str, Any]]) -> None:
    """By the official schema of OpenAPI 3.1, which schemathesis carries."""
    _, document = served
    OPENAPI_31_VALIDATOR.validate(document)
    del document["info"]["title"]
    assert not OPENAPI_31_VALIDATOR.is_valid(document)


def test_the_document_is_openapi_for_programs(served: tuple[Starlette, dict[str, Any]]) -> None:
    _, document = served
    assert document["openapi"] == "3.1.0"
    described = list(operations(document))
    ids = Counter(operation["operationId"] for _, _, operation in described)
    assert set(ids.values()) == {1}
    tags = {tag["name"] for tag in document["tags"]}
    for method, path, operation in described:
        assert operation["summary"] and set(operation["tags"]) <= tags, (method, path)
        in_path = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path))
        assert {"400", "405", "408", "421", "431", "500"} <= set(operation["responses"])
        needs_token = bool(operation["security"])
        assert ("401" in operation["responses"]) == needs_token
        assert ("403" in operation["responses"]) == (needs_token or method != "GET")
        for response in operation["responses"].values():
            for link in response.get("links", {}).values():
                assert link["operationId"] in ids


PUBLIC = {"/", "/pages/{name}", "/favicon.ico", "/healthz", "/readyz", "/problems/{name}", "/openapi.json"}


def test_only_what_tells_nothing_of_jobs_is_open_to_everybody(served: tuple[Starlette, dict[str, Any]]) -> None:
    _, document = served
    described = list(operations(document))
    assert {path for _, path, operation in described if not operation["security"]} == {
        path for _, path, _ in described if path in PUBLIC
    }


def test_every_reference_leads_somewhere(served: tuple[Starlette, dict[str, Any]]) -> None:
    _, document = served
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document))):
        found = document
        for part in reference.split("/"):
            found = found[part]
        assert found


def test_every_problem_is_documented_where_it_may_come() -> None:
    named: set[str] = set()
    for service in ("gateway", "intake"):
        for route in make(service).routes:
            if isinstance(route, ApiRoute):
                named |= {name for operation in route.operations for name in operation.all_problems}
    assert named | OF_WEBSOCKETS == set(CATALOGUE)


def test_the_problems_of_strict_json_are_those_that_it_raises() -> None:
    text = (COMMON / "model/json_scanner.py").read_text() + (COMMON / "model/strict_json.py").read_text()
    raised = set(re.findall(r'(?:_fail|StrictJsonError)\("([a-z-]+)"', text))
    assert raised == set(OF_JSON_BODIES)


def test_the_text_for_people_names_every_path(served: tuple[Starlette, dict[str, Any]]) -> None:
    text = (ROOT / "docs/api.md").read_text()
    _, document = served
    missing = [path for path in document["paths"] if not re.search(rf"[ `]{re.escape(path)}[`,?\s]", text)]
    assert not missing


def test_handlers_may_be_called_what_requests_may_ask_for() -> None:
    assert names.KIND_NAME.pattern == definition.NAME.pattern


def extra_members() -> list[tuple[str, str, str]]:
    """Place, problem and member of each extra member that is written beside the name of its problem."""
    found = []
    for path in sorted([*(ROOT / "libs/common").rglob("*.py"), *(ROOT / "services").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "problem" and node.args):
                continue
            extra = next((keyword.value for keyword in node.keywords if keyword.arg == "extra"), None)
            if isinstance(node.args[0], ast.Constant) and isinstance(extra, ast.Dict):
                names_ = [key.value for key in extra.keys if isinstance(key, ast.Constant)]
                found += [(f"{path.relative_to(ROOT)}:{node.lineno}", node.args[0].value, str(name)) for name in names_]
    return found


def test_documents_describe_every_extra_member_of_a_problem() -> None:
    described = {**MEMBERS, **(GATEWAY.problem_members or {})}
    found = extra_members()
    assert len(found) >= 10
    missing = [one for one in found if one[2] not in get_type_hints(described.get(one[1], ProblemDocument))]
    assert missing == []
