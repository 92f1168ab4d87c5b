"""`@handler`: what it records and what it refuses."""

import dataclasses
import functools
import inspect
import math
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from acked import DefinitionError, Kind, KindOptions, Registry, handler, registry
from acked.definition import define
from support.fields import filled


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """An empty registry for the test."""
    before = registry.snapshot()
    registry.restore({})
    yield
    registry.restore(before)


def test_it_returns_the_function_and_records_the_kind() -> None:
    async def send(ctx: Any, payload: Any) -> None:
        return None

    same = handler("mail.send", timeout_s=60, max_attempts=8, bundle=4, lane="mail", version="2")(send)
    assert same is send
    kind = registry["mail.send"]
    assert (kind.name, kind.function, kind.is_async, kind.module) == ("mail.send", send, True, __name__)
    assert kind.options == KindOptions(timeout_s=60.0, max_attempts=8, bundle=4, lane="mail", version="2")
    assert kind.place.endswith(f"test_definition.py:{send.__code__.co_firstlineno}")
    with pytest.raises(AttributeError):
        kind.name = "other"  # type: ignore[misc]


def test_a_plain_function_is_no_async_one() -> None:
    @handler("thumbnail")
    def make(ctx: Any, payload: Any) -> int:
        return 1

    assert not registry["thumbnail"].is_async
    assert registry["thumbnail"].options == KindOptions()


def test_a_wrapped_function_keeps_its_place() -> None:
    async def inner(ctx: Any, payload: Any) -> None:
        return None

    @functools.wraps(inner)
    async def outer(*args: Any) -> None:
        await inner(*args)

    handler("wrapped")(outer)
    assert registry["wrapped"].function is outer


@pytest.mark.parametrize("name", ["a", "0", "a.b_c-d", "a" * 64])
def test_good_names(name: str) -> None:
    handler(name)(lambda ctx, payload: None)
    assert list(registry) == [name]


@pytest.mark.parametrize("name", ["", "A", "-a", ".a", "a b", "a\n", "é", "a" * 65, 7, None])
def test_bad_names(name: Any) -> None:
    with pytest.raises(DefinitionError, match=r"test_definition\.py:\d+: the kind's name must be 1 to 64 of"):
        handler(name)(lambda ctx, payload: None)
    assert len(registry) == 0


def test_without_a_name() -> None:
    with pytest.raises(DefinitionError, match="the decorator needs the kind's name"):

        @handler  # type: ignore[arg-type]
        def work(ctx: Any, payload: Any) -> None:
            return None


def test_a_name_once() -> None:
    handler("k")(lambda ctx, payload: None)
    with pytest.raises(DefinitionError, match=r"kind 'k' is already defined at .*test_definition\.py:\d+\. Rename one"):
        handler("k")(lambda ctx, payload: None)


def kind_of(version: str, replace: bool) -> Kind:
    """A kind named k."""
    return define("k", lambda ctx, payload: None, KindOptions(version=version, replace=replace))


@pytest.mark.parametrize("order", [(False, True), (True, False)])
def test_of_two_the_replacing_one_stays(order: tuple[bool, bool]) -> None:
    kinds = Registry()
    for replace in order:
        kinds.add(kind_of(str(replace), replace))
    assert kinds["k"].options.version == "True"


def test_only_one_may_replace() -> None:
    kinds = Registry()
    kinds.add(kind_of("1", True))
    with pytest.raises(DefinitionError, match="Only one of them may have replace=True"):
        kinds.add(kind_of("2", True))


BAD_OPTIONS: list[dict[str, Any]] = [
    *({name: value} for name in ("timeout_s", "backoff_base_s", "backoff_cap_s") for value in (0, -1, math.nan)),
    *({name: value} for name in ("timeout_s", "backoff_cap_s") for value in (math.inf, 4e7, True, "5", None)),
    *({"max_attempts": value} for value in (0, -1, 1.5, True, 100_001, math.nan)),
    *({"max_attempts_limit": value} for value in (4, 0, -1, 5.5, True, 100_001, "9")),
    *({"timeout_limit_s": value} for value in (899.9, 0, -1, math.inf, math.nan, 4e7, True, "1000")),
    *({"bundle": value} for value in (0, 33, 2.0, True)),
    {"backoff_base_s": 10, "backoff_cap_s": 5},
    {"lane": "Bad Lane"},
    {"version": ""},
    {"version": "a\nb"},
    {"version": 3},
    {"replace": 1},
]


@pytest.mark.parametrize("options", BAD_OPTIONS, ids=str)
def test_bad_options(options: dict[str, Any]) -> None:
    name = next(iter(options))
    with pytest.raises(DefinitionError, match=rf"test_definition\.py:\d+: {name}"):

        @handler("k", **options)
        async def work(ctx: Any, payload: Any) -> None:
            return None

    assert len(registry) == 0


def generator(ctx: Any, payload: Any) -> Iterator[int]:
    yield 1


async def async_generator(ctx: Any, payload: Any) -> AsyncIterator[int]:
    yield 1


class Callable:
    def __call__(self, ctx: Any, payload: Any) -> None:
        return None


BAD_FUNCTIONS: list[tuple[Any, str]] = [
    (generator, "generator yields; a handler returns"),
    (async_generator, "async_generator yields; a handler returns"),
    (Callable, "needs a function"),
    (Callable(), "needs a function"),
    (print, "needs a function"),
    (7, "needs a function"),
    (lambda payload: None, r"must take exactly the two arguments \(ctx, payload\); it takes \(payload\)"),
    (lambda: None, "must take exactly the two arguments"),
    (lambda ctx, payload, more: None, "must take exactly the two arguments"),
]


@pytest.mark.parametrize(("function", "message"), BAD_FUNCTIONS)
def test_bad_functions(function: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        handler("k")(function)
    assert len(registry) == 0


def test_sync_handlers_take_no_bundles() -> None:
    handler("one", bundle=1)(lambda ctx, payload: None)
    with pytest.raises(DefinitionError, match="omit bundle"):
        handler("two", bundle=2)(lambda ctx, payload: None)


def test_the_decorator_takes_each_option_with_its_default() -> None:
    taken = {
        name: parameter.default
        for name, parameter in inspect.signature(handler).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    assert taken == {field.name: field.default for field in dataclasses.fields(KindOptions)}


OTHERS = filled(KindOptions, backoff_base_s=2.0, backoff_cap_s=77.0, replace=True)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(KindOptions)])
def test_the_decorator_passes_each_option_on(name: str) -> None:
    async def work(ctx: Any, payload: Any) -> None:
        return None

    handler("passed-on", **dataclasses.asdict(OTHERS))(work)
    assert getattr(registry["passed-on"].options, name) == getattr(OTHERS, name) != getattr(KindOptions(), name)
