"""`@handler` and the registry that it fills."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from acked.definition import DefinitionError, KindDefinition, KindOptions, define, place_of

F = TypeVar("F", bound=Callable[..., Any])


class Registry(Mapping[str, KindDefinition]):
    """The registered kinds by name."""

    def __init__(self) -> None:
        self._kinds: dict[str, KindDefinition] = {}

    def __getitem__(self, name: str) -> KindDefinition:
        return self._kinds[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)

    def add(self, kind: KindDefinition) -> None:
        """Register a kind.

        Of two with one name, the one with `replace=True` wins, in any order. Two without it, or two with it, raise
        `DefinitionError`.
        """
        known = self._kinds.get(kind.name)
        if known is not None and known.options.replace == kind.options.replace:
            raise DefinitionError(
                f"{kind.place}: kind {kind.name!r} is already defined at {known.place}. "
                + ("Only one of them may have replace=True." if kind.options.replace else _OFFER_REPLACE)
            )
        if known is None or kind.options.replace:
            self._kinds[kind.name] = kind

    def snapshot(self) -> dict[str, KindDefinition]:
        """Return a copy of the registered kinds by name."""
        return dict(self._kinds)

    def restore(self, kinds: Mapping[str, KindDefinition]) -> None:
        """Restore the registry to an earlier `snapshot`."""
        self._kinds = dict(kinds)


_OFFER_REPLACE = "Rename one of them, or set replace=True on the one to use."

USUAL = KindOptions()

registry = Registry()
"""The registry of this process, which `@handler` fills."""


def handler(  # noqa: PLR0913 - keywords that users write
    name: str,
    *,
    timeout_s: float = USUAL.timeout_s,
    max_attempts: int = USUAL.max_attempts,
    timeout_limit_s: float | None = USUAL.timeout_limit_s,
    max_attempts_limit: int | None = USUAL.max_attempts_limit,
    backoff_base_s: float = USUAL.backoff_base_s,
    backoff_cap_s: float = USUAL.backoff_cap_s,
    bundle: int | None = USUAL.bundle,
    lane: str | None = USUAL.lane,
    version: str = USUAL.version,
    replace: bool = USUAL.replace,
) -> Callable[[F], F]:
    """Register a function as the handler of a kind and return it; its `__acked_kinds__` then names the kind.

        @handler("thumbnail", timeout_s=20)
        def make_thumbnail(ctx, payload):
            ...

    An `async def` handler shares an event loop with the other handlers, so it must not block; a plain `def` handler
    runs in
    a thread. Options are those of `KindOptions`. Raise `DefinitionError` for a bad name, option or function, and for a
    kind
    that is already defined.
    """
    if callable(name):
        raise DefinitionError(f'{place_of(name)}: write @handler("some-kind"): the decorator needs the kind\'s name')

    def register(function: F) -> F:
        try:
            options = KindOptions(
                timeout_s=timeout_s,
                max_attempts=max_attempts,
                timeout_limit_s=timeout_limit_s,
                max_attempts_limit=max_attempts_limit,
                backoff_base_s=backoff_base_s,
                backoff_cap_s=backoff_cap_s,
                bundle=bundle,
                lane=lane,
                version=version,
                replace=replace,
            )
        except DefinitionError as error:
            raise DefinitionError(f"{place_of(function)}: {error}") from None
        registry.add(define(name, function, options))
        # How clients that are given the function know its kind, without this package.
        function.__dict__["__acked_kinds__"] = (*function.__dict__.get("__acked_kinds__", ()), name)
        return function

    return register
