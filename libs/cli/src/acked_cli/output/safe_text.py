r"""Escape control characters in texts of payloads, errors and servers, for terminals. Pure.

A handler's message may contain escape sequences that move the cursor, change the title or, in some terminals, run
commands. Control characters (C0, DEL, C1), line separators and the marks that reorder text are shown as escapes such as
`\x1b`. JSON escapes C0 itself; the others are escaped as `\u009b`, which is the same JSON.
"""

import re

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_UNSAFE_IN_JSON = re.compile(f"(?!\n){_UNSAFE.pattern}")
"""A line feed outside of strings, where it never stands raw, formats a document."""
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def safe(text: str) -> str:
    """Return the text on one line, with escapes in place of what a terminal would act on."""
    return _UNSAFE.sub(_escaped, text)


def safe_lines(text: str) -> list[str]:
    """Return the lines of a text, each made safe; tabs become four spaces."""
    return [safe(line.replace("\t", "    ")) for line in text.split("\n")]


def safe_json(text: str) -> str:
    """Return JSON without raw control characters: all of them stand inside strings, where an escape is the same."""
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    return _NAMED.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
