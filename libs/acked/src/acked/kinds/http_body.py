"""The body of a response to `http_call`: unpacked within a bound, and as text where it is text. Pure."""

import codecs
import re
import zlib

MAX_BODY_BYTES = 64 * 1024

_GZIP = frozenset({"gzip", "x-gzip"})
_MAGIC = b"\x1f\x8b"
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^\s;"]+)', re.IGNORECASE)
# As Python names them. Not among them: what is no charset of the web (idna, punycode, unicode_escape), and may be slow.
_CHARSETS = (
    "utf-8",
    "utf-16",
    "utf-32",
    "ascii",
    "iso8859",
    "cp",
    "koi8",
    "shift_jis",
    "euc",
    "iso2022",
    "gb",
    "big5",
    "mac",
)


class IncompleteBody(Exception):
    """The packed body ends before its own end mark."""


def unpack(body: bytes, content_encoding: str, *, truncated: bool) -> tuple[bytes, bool] | None:
    """Undo the Content-Encoding of a body; at most `MAX_BODY_BYTES` come out.

    Return the bytes and whether something is missing, or None where the coding is not known (gzip and deflate are) or
    the body is not of it. Raise `IncompleteBody` where it breaks off though all of it was received.
    """
    codings = [name for part in content_encoding.split(",") if (name := part.strip().lower()) not in ("", "identity")]
    if not codings or not body:
        return body, truncated
    if len(codings) > 1 or codings[0] not in _GZIP | {"deflate"}:
        return None
    formats = [zlib.MAX_WBITS | 16] if codings[0] in _GZIP else [zlib.MAX_WBITS, -zlib.MAX_WBITS]
    for wbits in formats:
        try:
            found, is_whole = _inflate(body, wbits)
        except zlib.error:
            continue
        if len(found) > MAX_BODY_BYTES:
            return found[:MAX_BODY_BYTES], True
        if not is_whole and not truncated:
            if wbits < 0:
                # Nearly any bytes begin as raw deflate does.
                continue
            raise IncompleteBody(f"its {codings[0]} data ends too early")
        return found, truncated
    return None


def text_of(body: bytes, content_type: str, *, truncated: bool) -> str | None:
    """Return the text of a body in the charset of its Content-Type, else in UTF-8; None where it is no text."""
    named = _CHARSET.search(content_type)
    try:
        codec = codecs.lookup(named[1] if named else "utf-8")
    except (LookupError, ValueError):
        return None
    if not codec.name.startswith(_CHARSETS) or codec.incrementaldecoder is None:
        return None
    try:
        # A text that was cut may end within a character.
        text = codec.incrementaldecoder("strict").decode(body, not truncated)
    except UnicodeError:
        return None
    return None if "\0" in text else text


def _inflate(body: bytes, wbits: int) -> tuple[bytes, bool]:
    """What comes out, at most one byte more than is kept, and whether the data has come to its end."""
    found = b""
    while True:
        reader = zlib.decompressobj(wbits)
        found += reader.decompress(body, MAX_BODY_BYTES + 1 - len(found))
        body = reader.unused_data
        # A gzip file may have several members.
        if not reader.eof or len(found) > MAX_BODY_BYTES or wbits <= zlib.MAX_WBITS or not body.startswith(_MAGIC):
            return found, reader.eof
