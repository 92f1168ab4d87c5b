"""Build, from a stored payload schema, a type for msgspec that accepts what the schema accepts. Pure.

Intake checks payloads with the decoder that workers convert them with, so both agree, down to `1.0` not being an
integer. That decoder takes time linear in the payload for every schema, and needs no other library: a payload of
four fields takes 1 µs, where jsonschema-rs takes 5 with the parsing that it needs. A validator of JSON Schema can also
be attacked: `anyOf` over classes that contain each other takes it exponential time in the depth of a payload, some
follow a `$ref` over the network, and in `pattern` a schema brings a program that may run for hours.

So this knows only the vocabulary of `acked.payload_schema`, and is wider, never narrower, where a schema (of a pydantic
model, for example) says more: patterns, unknown formats, unions that the JSON type or a discriminator does not decide.
What is wider here is checked by the worker.
"""

import datetime
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal, Union
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

Schema = Mapping[str, Any]

_PREFIX = "#/$defs/"
_ROOT = ""
_NUMBERS = {
    "minimum": "ge",
    "exclusiveMinimum": "gt",
    "maximum": "le",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
}
_JSON_TYPES = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})


class UnusableSchema(Exception):
    """The schema is not one that a worker stores."""


def type_of(schema: Schema) -> Any:
    """Return the type of a whole schema. Raise `UnusableSchema`."""
    try:
        built = _Building(schema).whole()
        msgspec.json.Decoder(built)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError, RecursionError) as error:
        raise UnusableSchema(f"{type(error).__name__}: {error}") from None
    return built


class _Building:
    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._definitions: Mapping[str, Schema] = schema.get("$defs", {})
        self._tags = dict(_tags(schema, self._definitions))
        self._structs: dict[str, Any] = {}
        self._pending: list[Callable[[], None]] = []
        self._resolving: set[str] = set()

    def whole(self) -> Any:
        built = self.of(self._schema)
        # Structs may contain each other: each is made first, and the types of its fields are set afterwards.
        while self._pending:
            self._pending.pop()()
        return built

    def of(self, schema: Schema | bool) -> Any:
        """Return the type of one part."""
        if not isinstance(schema, Mapping):
            return Any
        if (reference := schema.get("$ref")) is not None:
            return self._referenced(reference)
        if "enum" in schema or "const" in schema:
            return _literal(schema["enum"] if "enum" in schema else [schema["const"]])
        branches = schema.get("anyOf") or schema.get("oneOf")
        if branches is not None:
            return self._union(branches)
        if schema.get("format") == "decimal":
            return Decimal
        named = schema.get("type")
        make = _MAKERS.get(named) if isinstance(named, str) else None
        return Any if make is None else make(self, schema)

    def _referenced(self, reference: str) -> Any:
        name = _name_of(reference)
        if name in self._structs:
            return self._structs[name]
        if name in self._resolving:
            # It refers to itself without an object in between: nothing can be checked.
            return Any
        definition = self._definitions[name]
        self._resolving.add(name)
        try:
            return self.object(definition, name) if _is_record(definition) else self.of(definition)
        finally:
            self._resolving.discard(name)

    def object(self, schema: Schema, name: str = _ROOT) -> Any:
        """Return a struct, or a dict for an object whose properties have no names."""
        if not _is_record(schema):
            return self._dict(schema)
        properties: Mapping[str, Schema] = schema["properties"]
        tag_field, tag = self._tags.get(name, (None, None)) if name else (None, None)
        names = [one for one in properties if one != tag_field]
        required = set(schema.get("required", ()))
        made = self._struct(
            [(f"f{at}", one in required) for at, one in enumerate(names)],
            rename={f"f{at}": one for at, one in enumerate(names)},
            tag_field=tag_field,
            tag=tag,
            forbid_unknown_fields=schema.get("additionalProperties") is False,
        )
        if name:
            self._structs[name] = made
        self._fill(made, [(properties[one], one in required) for one in names])
        return made

    def array(self, schema: Schema) -> Any:
        """Return a list, or a struct for an array whose items have types of their own."""
        items = schema.get("prefixItems")
        if items is None:
            of = self.of(schema.get("items", True))
            return _bounded(list[of], schema, "Items")  # type: ignore[valid-type]
        least = schema.get("minItems", 0)
        made = self._struct(
            [(f"f{at}", at < least) for at in range(len(items))],
            array_like=True,
            forbid_unknown_fields=schema.get("items") is False,
        )
        self._fill(made, [(item, at < least) for at, item in enumerate(items)])
        return made

    def _struct(self, fields: list[tuple[str, bool]], **options: Any) -> Any:
        declared = [(name, Any) if required else (name, Any, UNSET) for name, required in fields]
        return msgspec.defstruct("Payload", declared, kw_only=True, **options)

    def _fill(self, made: Any, parts: list[tuple[Schema, bool]]) -> None:
        def fill() -> None:
            for at, (schema, required) in enumerate(parts):
                found = self.of(schema)
                made.__annotations__[f"f{at}"] = found if required else Union[found, UnsetType]  # noqa: UP007 - made at run time

        self._pending.append(fill)

    def _dict(self, schema: Schema) -> Any:
        values = schema.get("additionalProperties", True)
        if values is False and "propertyNames" not in schema:
            return self._struct([], forbid_unknown_fields=True)
        key, value = _key(schema, self), self.of(values)
        return _bounded(dict[key, value], schema, "Properties")  # type: ignore[valid-type]

    def _union(self, branches: list[Schema]) -> Any:
        flat = list(self._flat(branches))
        kinds = [self._json_types(one) for one in flat]
        objects = [one for one, kind in zip(flat, kinds, strict=True) if kind == {"object"}]
        others = [kind for kind in kinds if kind != {"object"}]
        is_tagged = len(objects) < 2 or self._are_tagged(objects)
        if not is_tagged or any(kind is None for kind in others) or not _are_disjoint(others):
            return Any
        return reduce(or_, (_operand(self.of(one)) for one in flat))

    def _flat(self, branches: list[Schema]) -> Iterator[Schema]:
        for one in branches:
            within = one.get("anyOf") or one.get("oneOf")
            if within is None:
                yield one
            else:
                yield from self._flat(within)

    def _are_tagged(self, objects: list[Schema]) -> bool:
        """Return whether a discriminator decides between these, each of which is a definition with a tag of its own."""
        names = [_name_of(one["$ref"]) for one in objects if "$ref" in one]
        tags = [self._tags[name] for name in names if name in self._tags]
        return len(tags) == len(objects) and len({field for field, _ in tags}) == 1 and len(set(tags)) == len(tags)

    def _json_types(self, schema: Schema, seen: frozenset[str] = frozenset()) -> set[str] | None:
        """Return the types of JSON that the values of a part have; None if that is unknown."""
        if (reference := schema.get("$ref")) is not None:
            name = _name_of(reference)
            return None if name in seen else self._json_types(self._definitions[name], seen | {name})
        if "enum" in schema or "const" in schema:
            values = schema["enum"] if "enum" in schema else [schema["const"]]
            return {_json_type(value) for value in values}
        named = schema.get("type")
        found = {named} if isinstance(named, str) else set(named or ())
        return found if found and found <= _JSON_TYPES else None


def _tags(schema: Any, definitions: Mapping[str, Schema]) -> Iterator[tuple[str, tuple[str, str | int]]]:
    """Yield each definition that a discriminator names, with the field and the value of its tag."""
    if isinstance(schema, Mapping):
        found = schema.get("discriminator")
        if isinstance(found, Mapping) and isinstance(found.get("mapping"), Mapping):
            field = found["propertyName"]
            for reference in found["mapping"].values():
                tag = definitions[_name_of(reference)].get("properties", {}).get(field, {}).get("const")
                if isinstance(tag, str | int) and not isinstance(tag, bool):
                    yield _name_of(reference), (field, tag)
        for below in schema.values():
            yield from _tags(below, definitions)
    elif isinstance(schema, list):
        for below in schema:
            yield from _tags(below, definitions)


def _name_of(reference: str) -> str:
    if not reference.startswith(_PREFIX):
        raise ValueError(f"a reference leads out of the schema: {reference[:100]!r}")
    return reference.removeprefix(_PREFIX)


def _is_record(schema: Schema) -> bool:
    return schema.get("type") == "object" and isinstance(schema.get("properties"), Mapping)


def _literal(values: list[Any]) -> Any:
    if any(isinstance(value, bool | float | list | dict) for value in values):
        return Any
    return Literal[tuple(values)]


def _json_type(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", type(None): "null"}
    return names.get(type(value), "object")


def _are_disjoint(kinds: list[set[str] | None]) -> bool:
    seen: set[str] = set()
    for kind in kinds:
        if kind is None or seen & kind:
            return False
        seen |= kind
    return True


def _operand(built: Any) -> Any:
    """Return a type that `|` takes."""
    return type(None) if built is None else built


def _bounded(built: Any, schema: Schema, of: str) -> Any:
    least, most = schema.get(f"min{of}"), schema.get(f"max{of}")
    return built if least is None and most is None else Annotated[built, Meta(min_length=least, max_length=most)]


def _number(schema: Schema, of: type) -> Any:
    limits = {own: schema[word] for word, own in _NUMBERS.items() if word in schema}
    return Annotated[of, Meta(**limits)] if limits else of


def _key(schema: Schema, building: _Building) -> Any:
    names = schema.get("propertyNames")
    if not isinstance(names, Mapping):
        return str
    numbers = {"integer": int, "number": float}
    if names.get("format") in numbers:
        return numbers[names["format"]]
    # A property name is always a string, so a schema of names need not say so.
    return building.of({"type": "string", **names} if "$ref" not in names and "enum" not in names else names)


def _string(schema: Schema) -> Any:
    if schema.get("contentEncoding") == "base64":
        least, most = schema.get("minLength"), schema.get("maxLength")
        limits = (None if least is None else max(0, least // 4 * 3 - 2), None if most is None else most // 4 * 3)
        return bytes if limits == (None, None) else Annotated[bytes, Meta(min_length=limits[0], max_length=limits[1])]
    text_format, pattern = schema.get("format"), schema.get("pattern")
    if text_format in ("date-time", "time"):
        of = datetime.datetime if text_format == "date-time" else datetime.time
        # The two patterns of the derivation: one ends in an offset, the other in a digit.
        has_offset = {"([Zz]|[+-][0-9]{2}:?[0-9]{2})$": True, "[0-9]$": False}.get(pattern or "")
        return of if has_offset is None else Annotated[of, Meta(tz=has_offset)]
    if text_format == "duration":
        # Without the pattern of the derivation it may have years, months and weeks.
        return str if pattern is None else datetime.timedelta
    formats: Mapping[Any, Any] = {"date": datetime.date, "uuid": UUID}
    return formats.get(text_format) or _bounded(str, schema, "Length")


_MAKERS: Mapping[str, Callable[[_Building, Schema], Any]] = {
    "null": lambda building, schema: None,
    "boolean": lambda building, schema: bool,
    "integer": lambda building, schema: _number(schema, int),
    "number": lambda building, schema: _number(schema, float),
    "string": lambda building, schema: _string(schema),
    "array": lambda building, schema: building.array(schema),
    "object": lambda building, schema: building.object(schema),
}
