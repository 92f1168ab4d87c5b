"""Read API documents strictly: schemas allow only the members that they name."""

import copy
from collections.abc import Iterator
from typing import Any


def closed(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with every object schema closed: an unnamed member is an error.

    Clients must ignore new members; a service must not send members that its own document lacks.
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
    """Yield method, path and description of each operation."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def successes(document: dict[str, Any]) -> set[str]:
    """Return the success statuses, such as `GET /jobs 200`."""
    return {
        f"{method} {path} {status}"
        for method, path, operation in operations(document)
        for status in operation["responses"]
        if status.startswith("2")
    }


def _name(reference: dict[str, str]) -> str:
    return reference["$ref"].rpartition("/")[2]
