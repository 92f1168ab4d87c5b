"""API documents as the tests read them: closed against what they do not name."""

import copy
from collections.abc import Iterator
from typing import Any


def closed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with every object of its schemas closed: a member that it does not name is an error.

    Clients must let new members pass; a service must not send what its own document does not tell.
    """
    copied = copy.deepcopy(document)
    schemas = copied["components"]["schemas"]
    parts = {_name(part) for schema in schemas.values() for part in schema.get("allOf", ()) if "$ref" in part}
    for name, schema in schemas.items():
        if "allOf" in schema:
            schema["unevaluatedProperties"] = False
        elif "properties" in schema and name not in parts:
            schema.setdefault("additionalProperties", False)
    return copied


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of each operation."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def successes(document: dict[str, Any]) -> set[str]:
    """`GET /jobs 200`: what each operation answers when all is well."""
    return {
        f"{method} {path} {status}"
        for method, path, operation in operations(document)
        for status in operation["responses"]
        if status.startswith("2")
    }


def _name(reference: dict[str, str]) -> str:
    return reference["$ref"].rpartition("/")[2]
