"""The slow, exact scan of a JSON text: find the first violation of a rule, and its position. Pure.

The scan builds no values and does not recurse, so no text can exhaust memory or the stack.
"""

import json
import math
import re
from typing import NoReturn

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
MAX_NUMBER_CHARS = 400

_MAX_POINTER_CHARS = 1000
_SHOWN_CHARS = 40
_BOM = b"\xef\xbb\xbf"

# No possessive quantifier or atomic group: Python 3.11.2, Debian 12's own, reads them wrongly (cpython gh-106052).
_WHITESPACE = re.compile(rb"[ \t\n\r]*")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORD = re.compile(rb"[-+.0-9A-Za-z_]+")
# A stretch of a string's inside. Counted: the engine holds a state for each repeat of a group, 85 bytes a byte of text.
_STRETCH = re.compile(rb'[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*){0,1000}')
_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)")
_LITERALS = (b"true", b"false", b"null")
_NOT_FINITE = (b"NaN", b"Infinity", b"-Infinity", b"+Infinity")


class StrictJsonError(ValueError):
    """The JSON text is refused.

    `name` is the name of the problem. `pointer` is the JSON Pointer (RFC 6901) of the faulty value, or of the object or
    array that contains it. `offset` counts bytes from 0. `detail` is a clause to follow "the body: ".
    """

    def __init__(self, name: str, detail: str, pointer: str, offset: int) -> None:
        super().__init__(f"{detail} (byte {offset})")
        self.name = name
        self.detail = detail
        self.pointer = pointer
        self.offset = offset


class _Open:
    """An open object or array."""

    __slots__ = ("close", "keys", "members", "where")

    def __init__(self, is_object: bool) -> None:
        self.close = b"}" if is_object else b"]"
        self.keys: set[str] | None = set() if is_object else None
        self.members = 0
        self.where: str | int | None = None
        """The key or index of the current member; None between members."""


class JsonScanner:
    """Scans one text; used once."""

    def __init__(self, data: bytes, max_depth: int) -> None:
        self._data = data
        self._max_depth = max_depth
        self._at = 0
        self._open: list[_Open] = []
        self._not_utf8_at = _first_not_utf8(data)

    def scan(self) -> None:
        """Scan the text. Raises `StrictJsonError` at the first violation."""
        if self._data.startswith(_BOM):
            self._fail("bad-encoding", "it starts with a byte order mark; send UTF-8 without one", 0)
        if not self._next():
            self._fail("bad-json", "it is empty")
        self._value()
        while self._open:
            self._member(self._open[-1])
        if self._next():
            self._fail("bad-json", f"{self._found()} comes after the end of the value")

    def _member(self, within: _Open) -> None:
        """Scan one member of an object or array, or its end."""
        within.where = None
        char = self._next()
        if char == within.close:
            self._open.pop()
            self._at += 1
            return
        if within.members:
            if char != b",":
                self._fail("bad-json", f"expected ',' or '{within.close.decode()}' but found {self._found()}")
            self._at += 1
            if self._next() == within.close:
                self._fail("bad-json", f"a comma precedes '{within.close.decode()}'")
        if within.keys is None:
            within.where = within.members
        else:
            self._key(within, within.keys)
        within.members += 1
        self._value()

    def _key(self, within: _Open, keys: set[str]) -> None:
        start = self._at
        if self._next() != b'"':
            self._fail("bad-json", f"expected a key in double quotes but found {self._found()}")
        key = self._string("a key")
        if "\0" in key:
            self._fail("bad-text", "a key contains the character NUL", start)
        within.where = key
        if key in keys:
            self._fail("duplicate-key", f"the key {_shown(key)} occurs twice in one object", start)
        keys.add(key)
        if self._next() != b":":
            self._fail("bad-json", f"expected ':' after the key but found {self._found()}")
        self._at += 1

    def _value(self) -> None:
        char = self._next()
        if char == b'"':
            self._string("a text")
        elif char in (b"{", b"["):
            if len(self._open) >= self._max_depth:
                self._fail("too-deep", f"objects and arrays are nested deeper than {self._max_depth} levels")
            self._open.append(_Open(char == b"{"))
            self._at += 1
        else:
            self._word()

    def _word(self) -> None:
        """Scan a number, or true, false or null."""
        match = _WORD.match(self._data, self._at)
        if match is None:
            self._fail("bad-json", f"expected a value but found {self._found()}")
        word = match[0]
        if word not in _LITERALS:
            number = _NUMBER.fullmatch(word)
            if number is None:
                if word in _NOT_FINITE:
                    self._fail("bad-json", f"{word.decode()} is not JSON; send null or a string")
                what = "a number in JSON's form" if word[:1] in b"-+.0123456789" else "a value"
                self._fail("bad-json", f"expected {what} but found {_shown(word.decode())}")
            self._check_number(word, is_integer=number[1] is None and number[2] is None)
        self._at = match.end()

    def _check_number(self, word: bytes, *, is_integer: bool) -> None:
        if is_integer:
            if len(word) > 20 or not INT_MIN <= int(word) <= INT_MAX:
                self._fail("bad-number", "an integer does not fit in 64 signed bits; send it as a text")
        elif len(word) > MAX_NUMBER_CHARS:
            self._fail("bad-number", f"a number is longer than {MAX_NUMBER_CHARS} characters; send it as a text")
        elif math.isinf(float(word)):
            self._fail("bad-number", "a number is too large for a double; send it as a text")

    def _string(self, what: str) -> str:
        start = self._at
        end = start + 1
        while (stretch := _STRETCH.match(self._data, end)) is not None and stretch.end() > end:
            end = stretch.end()
        if start <= self._not_utf8_at <= end:
            self._fail("bad-encoding", f"{what} is not UTF-8", self._not_utf8_at)
        last = self._data[end : end + 1]
        if last != b'"':
            self._fail("bad-json", _why_unfinished(what, last), end)
        self._at = end + 1
        token = self._data[start : self._at]
        if b"\\" not in token:
            return token[1:-1].decode()
        text: str = json.loads(token)
        if not _is_encodable(text):
            self._fail("bad-text", f"{what} contains a lone surrogate", start + _lone_surrogate(token))
        return text

    def _next(self) -> bytes:
        """Return the next byte that is not white space; empty at the end."""
        match = _WHITESPACE.match(self._data, self._at)
        self._at = match.end() if match else self._at
        return self._data[self._at : self._at + 1]

    def _found(self) -> str:
        char = self._data[self._at : self._at + 1]
        if not char:
            return "the end"
        if self._at == self._not_utf8_at:
            self._fail("bad-encoding", "it is not UTF-8")
        if char == b"'":
            return "a single quote (JSON requires double quotes)"
        rest = self._data[self._at : self._at + 4].decode(errors="ignore")
        return _shown(rest[:1])

    def _fail(self, name: str, detail: str, offset: int | None = None) -> NoReturn:
        raise StrictJsonError(name, detail, self._pointer(), self._at if offset is None else offset)

    def _pointer(self) -> str:
        """Return the pointer of the current position, or of the closest parent with a pointer of reasonable length."""
        pointer = ""
        for within in self._open:
            if within.where is None:
                break
            longer = f"{pointer}/{str(within.where).replace('~', '~0').replace('/', '~1')}"
            if len(longer) > _MAX_POINTER_CHARS:
                break
            pointer = longer
        return pointer


def _why_unfinished(what: str, char: bytes) -> str:
    if not char:
        return f"it ends inside {what}"
    if char == b"\\":
        return f"{what} contains an unknown escape"
    return f"{what} holds a control character (0x{char.hex()}) that is not escaped"


def _first_not_utf8(data: bytes) -> int:
    """Return the offset of the first byte that is not UTF-8; -1 without one."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start
    return -1


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _lone_surrogate(token: bytes) -> int:
    """Return the offset of the first lone surrogate in a string's text."""
    high_at = -1
    high_end = -1
    for match in _ESCAPE.finditer(token):
        unit = int(match[1], 16) if match[1] else 0
        if high_at >= 0:
            if match.start() != high_end or not 0xDC00 <= unit <= 0xDFFF:
                return high_at
            high_at = -1
        elif 0xDC00 <= unit <= 0xDFFF:
            return match.start()
        elif 0xD800 <= unit <= 0xDBFF:
            high_at, high_end = match.start(), match.end()
    return high_at


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…")
