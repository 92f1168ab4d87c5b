"""Values for each field of a record, derived from its type, so that tests that walk the fields cover new ones too."""

import dataclasses
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec
from hypothesis import strategies as st

from acked_common.model.callbacks import EVENTS, JobEnd
from acked_common.model.options import JobOptions

R = TypeVar("R")

_AT = datetime(2026, 3, 29, 12, 30, 0, 125_000, UTC)
_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
_DRAWN = {
    str: _TEXTS,
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False),
    datetime: st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(
        lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000, tzinfo=UTC)
    ),
}
_TWO: dict[Any, tuple[Any, Any]] = {
    str: ("one", "another"),
    int: (3, 5),
    float: (1.5, 2.5),
    bool: (False, True),
    bytes: (b'{"a":1}', b'{"a":2}'),
    datetime: (_AT, _AT + timedelta(seconds=7)),
    UUID: (UUID(int=1), UUID(int=2)),
    # Ends of events that a version doesn't know are left out.
    JobEnd: (JobEnd(1, EVENTS[0], _AT), JobEnd(2, EVENTS[1], _AT)),
    object: ("one", "another"),
    Any: ("one", "another"),
    msgspec.Raw: (msgspec.Raw(b"1"), msgspec.Raw(b"2")),
}


def fields_of(record_type: type) -> dict[str, Any]:
    """Return the fields of a struct or a dataclass with their types."""
    hints = get_type_hints(record_type)
    if isinstance(record_type, msgspec.StructMeta):
        return {name: hints[name] for name in record_type.__struct_fields__}
    return {field.name: hints[field.name] for field in dataclasses.fields(record_type)}


def two_of(hint: Any) -> tuple[Any, Any]:
    """Return two different values of a type; for an optional one neither is None."""
    if hint in _TWO:
        return _TWO[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return two_of(next(argument for argument in arguments if argument not in (type(None), msgspec.UnsetType)))
    if origin is Literal:
        return arguments[0], arguments[-1]
    if origin is tuple:
        one, other = two_of(arguments[0])
        return (one,), (other, one)
    if origin in (list, Sequence, frozenset, set):
        one, other = two_of(arguments[0])
        made = list if origin is Sequence else origin
        return made([one]), made([other])
    if origin in (dict, Mapping) or hint in (dict, Mapping):
        return {"a": "one"}, {"a": "another"}
    if origin is Callable:
        return str, repr
    if isinstance(hint, type) and issubclass(hint, Enum):
        first, second, *_ = hint
        return first, second
    if isinstance(hint, msgspec.StructMeta) or dataclasses.is_dataclass(hint):
        one = filled(hint)
        return one, dict(variants(one))[next(iter(fields_of(hint)))]
    raise TypeError(f"no values are known for {hint!r}: add some to support/fields.py")


def filled(record_type: type[R], **given: Any) -> R:
    """Return a record with no field at its default, except the given ones."""
    made = {name: two_of(hint)[0] for name, hint in fields_of(record_type).items() if name not in given}
    return record_type(**made, **given)


def changed(record: R, **to: Any) -> R:
    """Return a copy with other values."""
    if isinstance(record, msgspec.Struct):
        return msgspec.structs.replace(record, **to)
    return dataclasses.replace(record, **to)  # type: ignore[type-var]


def walked(record_type: type) -> list[str]:
    """Return the fields of a record, with its options replaced by their fields, as `options.batch`."""
    found: list[str] = []
    for name, hint in fields_of(record_type).items():
        found += [f"{name}.{inner}" for inner in fields_of(hint)] if hint is JobOptions else [name]
    return found


def variants(record: R, *, but: frozenset[str] | set[str] = frozenset()) -> Iterator[tuple[str, R]]:
    """Yield the name of each `walked` field with a copy of the record that differs in that field only."""
    for name, hint in fields_of(type(record)).items():
        if name not in but:
            now = getattr(record, name)
            if hint is JobOptions:
                yield from ((f"{name}.{inner}", changed(record, **{name: other})) for inner, other in variants(now))
                continue
            yield name, changed(record, **{name: next(value for value in two_of(hint) if value != now)})


def records(record_type: type[R], **own: st.SearchStrategy[Any]) -> st.SearchStrategy[R]:
    """Draw records, each field from its type unless it has its own strategy."""
    drawn = {name: own[name] if name in own else _drawn(hint) for name, hint in fields_of(record_type).items()}
    return st.fixed_dictionaries(drawn).map(lambda fields: record_type(**fields))


def _drawn(hint: Any) -> st.SearchStrategy[Any]:
    if hint in _DRAWN:
        return _DRAWN[hint]
    arguments = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return st.one_of([_drawn(argument) for argument in arguments])
    if get_origin(hint) is tuple:
        return st.lists(_drawn(arguments[0]), max_size=3, unique=True).map(tuple)
    if get_origin(hint) in (dict, Mapping):
        return st.dictionaries(_TEXTS, _TEXTS, max_size=3)
    if isinstance(hint, msgspec.StructMeta) or dataclasses.is_dataclass(hint):
        return records(hint)
    return st.from_type(hint)
