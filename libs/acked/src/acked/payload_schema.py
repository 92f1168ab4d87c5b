"""Derive the JSON Schema (2020-12) of a type that msgspec converts JSON to. Pure.

The vocabulary is small on purpose: intake builds a type from it that accepts the same values, so that both sides agree
(`acked_common.model.payload_types`). A schema says no more than that type can check: `pattern` is for readers, except
that of a format here. Where msgspec accepts more than JSON Schema can say, the schema is wider, never narrower.
"""

import enum
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import inspect as types

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
WITH_OFFSET = "([Zz]|[+-][0-9]{2}:?[0-9]{2})$"
WITHOUT_OFFSET = "[0-9]$"
"""An instant ends in an offset or in a digit of its seconds: the pattern says which one a type wants."""
OF_DURATION = "^[+-]?P[0-9DTHMSdthms.]+$"

_NOTES = ("title", "description", "examples", "deprecated")
_LIMITS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}
_PLAIN: Mapping[type, Schema] = {
    types.AnyType: {},
    types.NoneType: {"type": "null"},
    types.BoolType: {"type": "boolean"},
    types.DateType: {"type": "string", "format": "date"},
    types.UUIDType: {"type": "string", "format": "uuid"},
    types.TimeDeltaType: {"type": "string", "format": "duration", "pattern": OF_DURATION},
    types.DecimalType: {"type": ["string", "number"], "format": "decimal"},
}
_KEYS: Mapping[type, Schema] = {types.IntType: {"format": "integer"}, types.FloatType: {"format": "number"}}
"""Keys of objects are strings: these hold a number."""


class Underivable(Exception):
    """The type has no schema; `cls` is the part that msgspec does not know, if there is one."""

    def __init__(self, why: str, cls: object = None) -> None:
        super().__init__(why)
        self.cls = cls


def schema_of(annotation: object) -> Schema:
    """Return the schema of a type. Raise `Underivable`."""
    try:
        info = types.type_info(annotation)
    except Exception as error:
        # Whatever a class raises when its annotations are read: a name that only a type checker sees, for example.
        raise Underivable(f"{type(error).__name__}: {error}") from None
    deriving = _Deriving()
    schema = deriving.of(info)
    return {"$schema": DIALECT, **schema, **({"$defs": deriving.definitions} if deriving.definitions else {})}


class _Deriving:
    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}
        self._names: dict[object, str] = {}

    def of(self, info: types.Type) -> Schema:
        """Return the schema of one part."""
        if isinstance(info, types.Metadata):
            extra = info.extra_json_schema or {}
            return {**self.of(info.type), **{name: extra[name] for name in _NOTES if name in extra}}
        if (plain := _PLAIN.get(type(info))) is not None:
            return dict(plain)
        found = self._of_scalar(info) or self._of_container(info) or self._of_class(info)
        if found is None:
            cls = getattr(info, "cls", None)
            name = getattr(cls, "__qualname__", type(info).__name__)
            raise Underivable(
                f"{name} is neither a builtin, a dataclass, a TypedDict, a struct nor a pydantic model", cls
            )
        return found

    def _of_scalar(self, info: types.Type) -> Schema | None:
        match info:
            case types.IntType() | types.FloatType():
                name = "integer" if isinstance(info, types.IntType) else "number"
                return {"type": name, **_present({word: getattr(info, own) for own, word in _LIMITS.items()})}
            case types.StrType():
                return {"type": "string", **_lengths(info, "Length"), **_present({"pattern": info.pattern})}
            case types.BytesType() | types.ByteArrayType() | types.MemoryViewType():
                return {"type": "string", "contentEncoding": "base64", **_encoded_lengths(info)}
            case types.DateTimeType(tz=tz) | types.TimeType(tz=tz):
                name = "date-time" if isinstance(info, types.DateTimeType) else "time"
                pattern = {True: WITH_OFFSET, False: WITHOUT_OFFSET, None: None}[tz]
                return {"type": "string", "format": name, **_present({"pattern": pattern})}
            case types.LiteralType():
                return {"enum": list(info.values)}
            case types.EnumType():
                return self._defined(info.cls, lambda: _enum_schema(info.cls))
            case _:
                return None

    def _of_container(self, info: types.Type) -> Schema | None:
        match info:
            case types.ListType() | types.SetType() | types.FrozenSetType() | types.VarTupleType():
                items = self.of(info.item_type)
                return {"type": "array", **({"items": items} if items else {}), **_lengths(info, "Items")}
            case types.TupleType():
                return _row([self.of(one) for one in info.item_types], required=len(info.item_types), is_closed=True)
            case types.DictType() | types.FrozenDictType():
                names = self._of_key(info.key_type)
                values = self.of(info.value_type)
                return {
                    "type": "object",
                    **({"propertyNames": names} if names else {}),
                    **({"additionalProperties": values} if values else {}),
                    **_lengths(info, "Properties"),
                }
            case types.UnionType():
                return self._union(info)
            case _:
                return None

    def _of_key(self, info: types.Type) -> Schema:
        if isinstance(info, types.Metadata):
            return self._of_key(info.type)
        if (number := _KEYS.get(type(info))) is not None:
            return dict(number)
        found = self.of(info)
        if isinstance(info, types.AnyType) or not _is_text(found, self.definitions):
            # Rare keys, such as numbers of an enum, are left to the handler's worker.
            return {}
        return {} if found == {"type": "string"} else found

    def _union(self, info: types.UnionType) -> Schema:
        structs = [one for one in info.types if isinstance(_bare(one), types.StructType)]
        others = [self.of(one) for one in info.types if one not in structs]
        if len(structs) < 2:
            return {"anyOf": [*(self.of(one) for one in structs), *others]}
        bare = [_bare(one) for one in structs]
        if any(not isinstance(one, types.StructType) or one.array_like for one in bare):
            return {"anyOf": [{"type": "array"}, *others]}
        tag = next(one.tag_field for one in bare if isinstance(one, types.StructType))
        references = [self.of(one) for one in structs]
        tags = [str(one.tag) for one in bare if isinstance(one, types.StructType)]
        tagged = {
            "anyOf": [{**one, "required": [tag]} for one in references],
            "discriminator": {
                "propertyName": tag,
                "mapping": {value: one["$ref"] for value, one in zip(tags, references, strict=True)},
            },
        }
        return {"anyOf": [tagged, *others]} if others else tagged

    def _of_class(self, info: types.Type) -> Schema | None:
        match info:
            case types.StructType():
                if info.array_like:
                    return self._defined(info.cls, lambda: self._array_like(info))
                tag = {} if info.tag_field is None else {info.tag_field: {"const": info.tag}}
                return self._defined(
                    info.cls, lambda: self._object(info.cls, info.fields, tag, info.forbid_unknown_fields)
                )
            case types.DataclassType() | types.TypedDictType():
                return self._defined(info.cls, lambda: self._object(info.cls, info.fields, {}, False))
            case types.NamedTupleType():
                return self._defined(info.cls, lambda: self._row_of(info.fields, is_closed=True))
            case _:
                return None

    def _array_like(self, info: types.StructType) -> Schema:
        # The tag of an array is one of its items; arrays with tags are rare and left to the worker.
        is_plain = info.tag_field is None
        return self._row_of(info.fields, is_closed=info.forbid_unknown_fields) if is_plain else {"type": "array"}

    def _row_of(self, fields: Iterable[types.Field], *, is_closed: bool) -> Schema:
        fields = list(fields)
        required = sum(field.required for field in fields)
        return _row([self.of(field.type) for field in fields], required=required, is_closed=is_closed)

    def _object(self, cls: object, fields: Iterable[types.Field], tag: Schema, is_closed: bool) -> Schema:
        fields = list(fields)
        properties = {**tag, **{field.encode_name: {**self.of(field.type), **_default(field)} for field in fields}}
        required = [field.encode_name for field in fields if field.required]
        return {
            **_about(cls),
            "type": "object",
            "properties": properties,
            **({"required": required} if required else {}),
            **({"additionalProperties": False} if is_closed else {}),
        }

    def _defined(self, cls: object, make: Any) -> Schema:
        """Return a reference to the definition of a class, which is made once: classes may contain themselves."""
        name = self._names.get(cls)
        if name is None:
            name = base = "".join(char if char.isalnum() else "_" for char in _name(cls))
            number = 1
            while name in self.definitions:
                number += 1
                name = f"{base}_{number}"
            self._names[cls] = name
            self.definitions[name] = {}
            self.definitions[name] = make()
        return {"$ref": f"#/$defs/{name}"}


def _row(items: list[Schema], *, required: int, is_closed: bool) -> Schema:
    return {
        "type": "array",
        "prefixItems": items,
        "minItems": required,
        **({"items": False, "maxItems": len(items)} if is_closed else {}),
    }


def _enum_schema(cls: Any) -> Schema:
    values = [member.value for member in cls]
    if "_missing_" in {name for base in cls.__mro__[: cls.__mro__.index(enum.Enum)] for name in vars(base)}:
        # It may find a member for any other value.
        return {"type": "string" if isinstance(values[0], str) else "integer"}
    return {**_about(cls), "enum": values}


def _about(cls: object) -> Schema:
    text = (getattr(cls, "__doc__", None) or "").strip()
    name = _name(cls)
    # A dataclass without a docstring has its signature as one.
    is_own = text and not text.startswith(f"{name}(") and text != "An enumeration."
    return {"title": name, **({"description": text.split("\n\n")[0].replace("\n", " ")[:500]} if is_own else {})}


def _name(cls: object) -> str:
    return str(getattr(cls, "__name__", None) or getattr(getattr(cls, "__origin__", None), "__name__", "Payload"))


def _default(field: types.Field) -> Schema:
    if field.default is msgspec.NODEFAULT or field.default is msgspec.UNSET:
        return {}
    try:
        return {"default": msgspec.to_builtins(field.default, str_keys=True)}
    except Exception:
        return {}


def _lengths(info: Any, of: str) -> Schema:
    least, most = getattr(info, "min_length", None), getattr(info, "max_length", None)
    return _present({f"min{of}": least, f"max{of}": most})


def _encoded_lengths(info: Any) -> Schema:
    """Return the lengths of a text in base64, four characters for up to three bytes."""
    lengths = _lengths(info, "Length")
    return {name: 4 * -(-size // 3) for name, size in lengths.items()}


def _present(schema: Schema) -> Schema:
    return {name: value for name, value in schema.items() if value is not None}


def _bare(info: types.Type) -> types.Type:
    return _bare(info.type) if isinstance(info, types.Metadata) else info


def _is_text(schema: Schema, definitions: Mapping[str, Schema]) -> bool:
    if (reference := schema.get("$ref")) is not None:
        return _is_text(definitions[reference.rpartition("/")[2]], definitions)
    if "enum" in schema:
        return all(isinstance(value, str) for value in schema["enum"])
    return bool(schema.get("type") == "string") and "contentEncoding" not in schema
