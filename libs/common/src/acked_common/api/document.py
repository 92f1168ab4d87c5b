"""Generate the OpenAPI 3.1 document of a service from its route table.

apispec assembles the document. It is maintained and typed, needs nothing but `packaging`, and describes routes without
wrapping them. Frameworks for Starlette (spectree and others) validate requests and build responses themselves. msgspec
generates the schemas from the types that the endpoints use.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import msgspec
from apispec import APISpec

from acked_common.api.problem_types import MEMBERS, ProblemDocument
from acked_common.api.routes import JSON, LINES, ApiResponse, Header, Operation
from acked_common.http.problem_catalogue import CATALOGUE, ProblemType
from acked_common.http.problems import MEDIA_TYPE, TYPE_PREFIX

OPENAPI_VERSION = "3.1.0"
SCHEME = "token"
"""The name of the security scheme."""

_ALWAYS_SENT = {
    "Retry-After": Header(type=int, description="Seconds to wait before a retry."),
    "Allow": Header(type=str, description="The methods that this path supports."),
    "WWW-Authenticate": Header(type=str, description="The scheme, `Bearer`, and the fault of the token."),
    "RateLimit-Policy": Header(
        type=str, description="The rate limit of this client: quota `q` per window of `w` seconds."
    ),
    "RateLimit": Header(type=str, description="Remaining quota `r`, and the seconds `t` until it grows."),
}
"""Response headers of problems that clients act on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """The title, description and tags of a service's document."""

    title: str
    description: str
    tags: Mapping[str, str]
    """Description by tag name, in display order."""
    problem_members: Mapping[str, Any] | None = None
    """Types of extra members of the service's own problems, by problem name."""


def make_document(about: About, operations: Sequence[Operation]) -> dict[str, Any]:
    """Return the document. Raise apispec's error for a duplicate name, KeyError for an unknown problem."""
    return _Document(about, operations).made()


class _Document:
    def __init__(self, about: About, operations: Sequence[Operation]) -> None:
        self._operations = operations
        self._members = {**MEMBERS, **(about.problem_members or {})}
        self._problems = sorted({name for operation in operations for name in operation.all_problems})
        self._alone: set[str] = set()
        self._schemas = _Schemas([ProblemDocument, *(self._members[n] for n in self._problems if n in self._members)])
        for operation in operations:
            self._schemas.add(_types_of(operation))
        self._spec = APISpec(
            title=about.title,
            version=version("acked-common"),
            openapi_version=OPENAPI_VERSION,
            info={
                "description": about.description,
                "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
            },
            tags=[{"name": name, "description": meaning} for name, meaning in about.tags.items()],
        )

    def made(self) -> dict[str, Any]:
        components = self._spec.components
        components.security_scheme(
            SCHEME,
            {
                "type": "http",
                "scheme": "bearer",
                "description": (
                    "A token of Acked. Each operation names the permission that it requires. A server that only its "
                    "own machine reaches may be set to ask for none."
                ),
            },
        )
        for name, schema in self._schemas.describe().items():
            components.schema(name, schema)
        for name in self._problems:
            components.schema(_component(name), self._problem_schema(name, CATALOGUE[name]))
        paths: dict[str, dict[str, Any]] = {}
        for operation in self._operations:
            paths.setdefault(operation.path, {})[operation.method.lower()] = self._operation(operation)
        for name in sorted(self._alone):
            components.response(name, self._problem_response([name]))
        for path, operations in paths.items():
            self._spec.path(path, operations=operations)
        return self._spec.to_dict()

    def _problem_schema(self, name: str, entry: ProblemType) -> dict[str, Any]:
        properties: dict[str, Any] = {"type": {"const": TYPE_PREFIX + name}, "status": {"const": entry.status}}
        parts: list[Any] = [self._schemas.of(ProblemDocument), {"properties": properties}]
        if name in self._members:
            parts.append(self._schemas.of(self._members[name]))
        return {"title": entry.title, "description": f"{entry.text} {entry.advice}", "allOf": parts}

    def _problem_response(self, names: Sequence[str]) -> dict[str, Any]:
        references = [{"$ref": f"#/components/schemas/{_component(name)}"} for name in names]
        if len(names) == 1:
            entry = CATALOGUE[names[0]]
            description = f"`{names[0]}`: {entry.title}. {entry.advice}"
        else:
            lines = (f"- `{name}`: {CATALOGUE[name].title}. {CATALOGUE[name].advice}" for name in names)
            description = "One of:\n\n" + "\n".join(lines)
        schema = references[0] if len(names) == 1 else {"oneOf": references}
        response: dict[str, Any] = {"description": description, "content": {MEDIA_TYPE: {"schema": schema}}}
        sent: dict[str, Any] = {}
        for header, described in _ALWAYS_SENT.items():
            senders = [_sends(name, header) for name in names]
            if any(senders):
                # Required if every one of the problems carries it.
                sent[header] = self._header(described) | ({} if all(senders) else {"required": False})
        return {**response, "headers": sent} if sent else response

    def _operation(self, operation: Operation) -> dict[str, Any]:
        described: dict[str, Any] = {
            "operationId": operation.id,
            "tags": [operation.tag],
            "summary": operation.summary,
        }
        # OpenAPI 3.1 allows role names in this list for bearer schemes: the permission that the token needs.
        described["security"] = [] if operation.permission is None else [{SCHEME: [operation.permission.value]}]
        if operation.description:
            described["description"] = operation.description
        if operation.parameters:
            described["parameters"] = [
                {
                    "name": parameter.name,
                    "in": parameter.place,
                    "required": parameter.place == "path",
                    "description": parameter.description,
                    "schema": self._schemas.of(parameter.type),
                    **({"example": parameter.example} if parameter.example is not None else {}),
                }
                for parameter in operation.parameters
            ]
        if operation.body is not None:
            content: dict[str, Any] = {"schema": self._schemas.of(operation.body.type)}
            if operation.body.examples:
                content["examples"] = {name: {"value": value} for name, value in operation.body.examples.items()}
            media = {JSON: content}
            if operation.body.line_type is not None:
                media[LINES] = {"schema": self._schemas.of(operation.body.line_type)}
            described["requestBody"] = {
                "description": operation.body.description,
                "required": operation.body.required,
                "content": media,
            }
        described["responses"] = self._responses(operation)
        return described

    def _responses(self, operation: Operation) -> dict[str, Any]:
        responses: dict[str, Any] = {str(answer.status): self._answer(answer) for answer in operation.answers}
        by_status: dict[int, list[str]] = {}
        for name in operation.all_problems:
            by_status.setdefault(CATALOGUE[name].status, []).append(name)
        for status, names in sorted(by_status.items()):
            if str(status) in responses:
                # A success response uses this status too, as /readyz does with 503.
                raise ValueError(f"{operation.id} responds with {status} in two ways")
            if len(names) == 1:
                # apispec resolves a name to the shared component.
                self._alone.add(names[0])
                responses[str(status)] = names[0]
            else:
                responses[str(status)] = self._problem_response(sorted(names))
        return responses

    def _answer(self, answer: ApiResponse) -> dict[str, Any]:
        described: dict[str, Any] = {"description": answer.description or HTTPStatus(answer.status).phrase}
        if answer.headers:
            described["headers"] = {name: self._header(header) for name, header in answer.headers.items()}
        described["content"] = {media: {"schema": self._schemas.of(type_)} for media, type_ in answer.media.items()}
        if answer.links:
            described["links"] = {
                name: {
                    "operationId": link.operation,
                    "parameters": dict(link.parameters),
                    "description": link.description,
                }
                for name, link in answer.links.items()
            }
        return described

    def _header(self, header: Header) -> dict[str, Any]:
        return {
            "description": header.description,
            "required": header.is_always_there,
            "schema": self._schemas.of(header.type),
        }


# Their values depend on the path or the client, so the code that raises the problem adds them.
_SENT_WHERE_RAISED = {
    ("method-not-allowed", "Allow"),
    ("rate-limited", "RateLimit-Policy"),
    ("rate-limited", "RateLimit"),
}


def _sends(name: str, header: str) -> bool:
    return header in CATALOGUE[name].headers or (name, header) in _SENT_WHERE_RAISED


class _Schemas:
    """JSON Schemas of types; named types become components."""

    def __init__(self, types: Iterable[Any]) -> None:
        self._types = [int, str, *types]
        self._schemas: list[dict[str, Any]] = []

    def add(self, types: Iterable[Any]) -> None:
        self._types += types

    def describe(self) -> Mapping[str, dict[str, Any]]:
        """Return the components. Call it before `of`."""
        schemas, components = msgspec.json.schema_components(self._types, ref_template="#/components/schemas/{name}")
        self._schemas = list(schemas)
        return components

    def of(self, type_: Any) -> dict[str, Any]:
        """Return the schema of an added type, as a copy: apispec resolves names in place."""
        found = next(schema for known, schema in zip(self._types, self._schemas, strict=True) if known is type_)
        copied: dict[str, Any] = msgspec.to_builtins(found)
        return copied


def _types_of(operation: Operation) -> list[Any]:
    found = [parameter.type for parameter in operation.parameters]
    if operation.body is not None:
        found.append(operation.body.type)
        if operation.body.line_type is not None:
            found.append(operation.body.line_type)
    for answer in operation.answers:
        found += answer.media.values()
        found += [header.type for header in answer.headers.values()]
    return found


def _component(problem_name: str) -> str:
    return re.sub(r"(?:^|-)(\w)", lambda match: match[1].upper(), problem_name) + "Problem"
