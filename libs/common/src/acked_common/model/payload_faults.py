"""Say where a payload differs from its type, as a JSON pointer, and what was expected there. Pure.

msgspec names the place as a path such as `$.items[3].price`. It does not name a key of a mapping: `$.prices[...]`. That
key is found by converting again with a part of the mapping's items, halving it each time.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

MAX_LOOKS = 64
"""The maximum of conversions that search for keys; beyond them the pointer ends at the mapping."""
_MAX_POINTER_CHARS = 400
_MAX_SHOWN = 10
_MAX_DETAIL_CHARS = 500
_PREFIX = "#/$defs/"

_AT = re.compile(r" - at (`key` in )?`\$(.*)`$", re.DOTALL)
_GOT = re.compile(r"Expected `(.+?)`, got `(\w+)`$")
_MISSING = re.compile(r"Object missing required field `(.*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`$", re.DOTALL)
_WORD = re.compile(r"`([^`]+)`")
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "null": "null",
    "array": "an array",
    "object": "an object",
    "bytes": "a text in base64",
    "datetime": "a date and time (RFC 3339)",
    "date": "a date (RFC 3339)",
    "time": "a time (RFC 3339)",
    "duration": "a duration (ISO 8601)",
    "uuid": "a UUID",
    "decimal": "a decimal number",
    "any": "any value",
}
_GIVEN = {**_WORDS, "float": "a decimal number"}
_INVALID = {
    "Invalid RFC3339 encoded datetime": "datetime",
    "Invalid RFC3339 encoded date": "date",
    "Invalid RFC3339 encoded time": "time",
    "Invalid ISO8601 duration": "duration",
    "Invalid UUID": "uuid",
    "Invalid decimal string": "decimal",
    "Invalid base64 encoded string": "bytes",
}
Token = str | int
Convert = Callable[[Any], object]


class PayloadFault(NamedTuple):
    """A fault; `pointer` is relative to the payload, and `detail` continues a sentence: "must be a text, …"."""

    pointer: str
    detail: str

    @property
    def text(self) -> str:
        """The fault as one sentence for people."""
        return f"{self.pointer or 'the payload'} {self.detail}"


def fault_of(message: str, value: Any, convert: Convert, schema: Mapping[str, Any] | None = None) -> PayloadFault:
    """Return the fault behind a message of msgspec about `value`.

    `convert` raises `ValueError` with such a message, as at first; `schema` gives the values of enums.
    """
    at = _AT.search(message)
    what = message[: at.start()] if at else message
    tokens = _tokens(at[2] if at else "", value, _Looks(convert, message))
    is_key = bool(at and at[1])
    if (named := _MISSING.match(what) or _UNKNOWN.match(what)) is not None:
        is_missing = what.startswith("Object missing")
        detail = "is missing" + _expected(schema, [*tokens, named[1]]) if is_missing else "is not a known field"
        return PayloadFault(pointer_of([*tokens, named[1]]), detail)
    detail = _detail(what, schema, tokens)
    return PayloadFault(pointer_of(tokens), f"has a key that {detail}" if is_key else detail)


def fault_at(path: Sequence[Token], detail: str, value: Any) -> PayloadFault:
    """Return the fault at a path, as pydantic gives it: it also names branches of unions, which the value lacks."""
    tokens: list[Token] = []
    for at, token in enumerate(path):
        if (isinstance(value, dict) and token in value) or _is_index(value, token):
            value = value[token]
        elif at < len(path) - 1 or not isinstance(value, dict) or not detail.startswith("Field required"):
            continue
        tokens.append(token)
    return PayloadFault(pointer_of(tokens), f"can't be used: {detail}"[:_MAX_DETAIL_CHARS])


def pointer_of(tokens: Sequence[Token]) -> str:
    """Return the JSON pointer (RFC 6901); one that is very long ends early."""
    pointer = ""
    for token in tokens:
        part = "/" + str(token).replace("~", "~0").replace("/", "~1")
        if len(pointer) + len(part) > _MAX_POINTER_CHARS:
            break
        pointer += part
    return pointer


def _is_index(value: Any, token: Token) -> bool:
    return isinstance(value, list) and isinstance(token, int) and 0 <= token < len(value)


class _Looks:
    """Searches a mapping for the key whose value has the fault."""

    def __init__(self, convert: Convert, message: str) -> None:
        self._convert = convert
        self._message = message
        self._left = MAX_LOOKS

    def key(self, tokens: Sequence[Token], root: Any, mapping: Mapping[str, Any]) -> str | None:
        """Return the first key with which the fault occurs; None if it is unknown."""
        items = list(mapping.items())
        low, high = 0, len(items)
        while high - low > 1:
            middle = (low + high) // 2
            if self._left <= 0:
                return None
            self._left -= 1
            if self._fails(_with(root, tokens, dict(items[:middle]))):
                high = middle
            else:
                low = middle
        return items[low][0] if items else None

    def _fails(self, value: Any) -> bool:
        try:
            self._convert(value)
        except ValueError as error:
            return str(error) == self._message
        return False


def _with(root: Any, tokens: Sequence[Token], replaced: Any) -> Any:
    """Return a copy of a value in which the part at `tokens` is another."""
    if not tokens:
        return replaced
    copy: Any = dict(root) if isinstance(root, dict) else list(root)
    copy[tokens[0]] = _with(root[tokens[0]], tokens[1:], replaced)
    return copy


def _tokens(path: str, value: Any, looks: _Looks) -> list[Token]:
    """Return the tokens of msgspec's path, which begins after the `$`, as far as the value has them."""
    root, tokens = value, list[Token]()
    while path:
        if path.startswith("[...]"):
            found: Token | None = looks.key(tokens, root, value) if isinstance(value, dict) else None
            rest = path[5:]
        elif (index := re.match(r"\[(\d+)\]", path)) is not None:
            found, rest = int(index[1]), path[index.end() :]
        else:
            found, rest = _member(path[1:], value), ""
            rest = path[1 + len(str(found)) :] if found is not None else ""
        if found is None or not ((isinstance(value, dict) and found in value) or _is_index(value, found)):
            break
        tokens.append(found)
        value, path = value[found], rest
    return tokens


def _member(path: str, value: Any) -> str | None:
    """Return the longest key of an object with which a path begins: keys may contain dots and brackets."""
    if not isinstance(value, dict):
        return None
    ends = {len(path), *(match.start() for match in re.finditer(r"[.\[]", path))}
    return next((path[:end] for end in sorted(ends, reverse=True) if path[:end] in value), None)


def _detail(what: str, schema: Mapping[str, Any] | None, tokens: Sequence[Token]) -> str:
    if (got := _GOT.match(what)) is not None:
        expected = " or ".join(_WORDS.get(word.strip(), word.strip()) for word in got[1].split("|"))
        return f"must be {expected}, not {_GIVEN.get(got[2], got[2])}"
    if what.startswith(("Invalid enum value", "Invalid value")):
        # The values of a tag, too: it is an enum of one value in each branch.
        shown = _expected(schema, tokens)
        return f"has an unknown value{shown}" if shown else "has an unknown value"
    if (name := _INVALID.get(what)) is not None:
        return f"is not {_WORDS[name]}"
    if what.startswith("Expected "):
        rest = _WORD.sub(lambda word: _WORDS.get(word[1], word[1]), what.removeprefix("Expected "))
        return f"must be {rest.replace(', got ', ', not ')}"[:_MAX_DETAIL_CHARS]
    return f"can't be used: {what}"[:_MAX_DETAIL_CHARS]


def _expected(schema: Mapping[str, Any] | None, tokens: Sequence[Token]) -> str:
    """Return `; expected …` with what the schema says of a place; empty if it says nothing."""
    if schema is None:
        return ""
    found = _branches([schema], schema)
    for token in tokens:
        found = _branches([below for one in found for below in _below(one, token)], schema)
    values = [value for one in found for value in one.get("enum", [one["const"]] if "const" in one else [])]
    if values:
        shown = ", ".join(msgspec.json.encode(value).decode() for value in values[:_MAX_SHOWN])
        return f"; expected {shown}{', …' if len(values) > _MAX_SHOWN else ''}"[:_MAX_DETAIL_CHARS]
    names = [one.get("format") or one.get("type") for one in found]
    words = [_JSON_WORDS[name] for name in dict.fromkeys(names) if isinstance(name, str) and name in _JSON_WORDS]
    return f"; expected {' or '.join(words)}" if words else ""


_JSON_WORDS = {
    "integer": _WORDS["int"],
    "number": _WORDS["float"],
    "string": _WORDS["str"],
    "boolean": _WORDS["bool"],
    "null": "null",
    "array": _WORDS["array"],
    "object": _WORDS["object"],
    "date-time": _WORDS["datetime"],
    "date": _WORDS["date"],
    "time": _WORDS["time"],
    "duration": _WORDS["duration"],
    "uuid": _WORDS["uuid"],
    "decimal": _WORDS["decimal"],
}


def _branches(parts: Sequence[Any], schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what may apply at a place: each part itself, or those that it refers to, each once."""
    waiting, seen, found = list(parts), set[int](), list[Mapping[str, Any]]()
    while waiting:
        part = waiting.pop(0)
        if not isinstance(part, Mapping) or id(part) in seen:
            continue
        seen.add(id(part))
        reference = part.get("$ref")
        if isinstance(reference, str):
            waiting.append(schema.get("$defs", {}).get(reference.removeprefix(_PREFIX)))
        elif "anyOf" in part or "oneOf" in part:
            waiting += part.get("anyOf") or part.get("oneOf") or ()
        else:
            found.append(part)
    return found


def _below(part: Mapping[str, Any], token: Token) -> list[Any]:
    if isinstance(token, int):
        items = part.get("prefixItems")
        return items[token : token + 1] if isinstance(items, list) else [part.get("items")]
    properties = part.get("properties", {})
    return [properties[token]] if token in properties else [part.get("additionalProperties")]
