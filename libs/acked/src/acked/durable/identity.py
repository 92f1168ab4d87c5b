"""The identity of a durable call: its name and key, never its position in the handler. Pure."""

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from msgspec import Struct
from msgspec.structs import force_setattr

from acked import json_values
from acked.durable.errors import InvalidStep

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
MAX_KEY_CHARS = 256
_DIGEST_BYTES = 16
_CACHED = 4096
"""Jobs of a kind use the same names and often the same keys, each several times in a call."""


class Identity(Struct, frozen=True):
    """The name and the key of a durable call; `key` is JSON text."""

    name: str
    key: str | None = None
    text: str = ""
    """The identity for people: `name`, or `name[key]`. Derived, as `digest` is."""
    digest: str = ""
    """The name of its entry in a ledger."""

    def __post_init__(self) -> None:
        text = self.name if self.key is None else f"{self.name}[{self.key}]"
        force_setattr(self, "text", text)
        force_setattr(self, "digest", digest_of(text))

    def part(self, mark: str, number: int) -> str:
        """Return the digest of an entry that belongs to this call, such as its second delayed try."""
        # No text of an identity contains a mark outside its key, and a key ends with a bracket.
        return digest_of(f"{self.text}{mark}{number}")


@lru_cache(maxsize=_CACHED)
def digest_of(text: str) -> str:
    """Return 32 hexadecimal digits."""
    return blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def identity_of(name: object, key: Any = None) -> Identity:
    """Return a validated identity. Raise `InvalidStep` for a bad name or key."""
    if type(name) is str and (key is None or type(key) in (str, int)):
        return _cached_identity(name, key)
    return _identity(name, key)


# Typed: `1` and `True` are equal, and different keys.
@lru_cache(maxsize=_CACHED, typed=True)
def _cached_identity(name: str, key: str | int | None) -> Identity:
    return _identity(name, key)


def _identity(name: object, key: Any) -> Identity:
    check_name(name, "the name of a durable call")
    if key is None:
        return Identity(str(name))
    try:
        text = json_values.encode(key).decode()
        value = json_values.decode(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidStep(f"the key of {name!r} is not JSON: {error}. Use a string or a number") from None
    if value is None or isinstance(value, dict | list):
        raise InvalidStep(f"the key of {name!r} must be a string, a number or a boolean, not {key!r}")
    if len(text) > MAX_KEY_CHARS:
        raise InvalidStep(f"the key of {name!r} has {len(text)} characters of JSON, more than {MAX_KEY_CHARS}")
    return Identity(str(name), text)


def check_name(name: object, what: str) -> str:
    """Return a valid name. Raise `InvalidStep` otherwise; `what` names it in the message."""
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        raise InvalidStep(
            f"{what} must be 1 to 64 of a-z, 0-9, '.', '_', '-' and start with a letter or a digit, not {name!r}. "
            "Put the part that differs between calls into the key"
        )
    return name
