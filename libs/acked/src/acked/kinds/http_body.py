"""The body of a response to `http_call`: decompressed within a bound, and decoded if it is text. Pure."""

import codecs
import re
import zlib

MAX_BODY_BYTES = 64 * 1024

_GZIP = frozenset({"gzip", "x-gzip"})
_MAGIC = b"\x1f\x8b"
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^\s;"]+)', re.IGNORECASE)
# Python's names. Codecs that are not web charsets (idna, punycode, unicode_escape) are left out: some are slow.
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
    """The compressed body ends before its end mark."""


def unpack(body: bytes, content_encoding: str, *, truncated: bool) -> tuple[bytes, bool] | None:
    """Undo the Content-Encoding of a body; return at most `MAX_BODY_BYTES`.

    Return the bytes and whether some are missing, or None if the coding is unknown (only gzip and deflate are known) or
    the
    body does not match it. Raise `IncompleteBody` if it ends early although all of it was received.
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
                # Nearly any bytes are a valid start of raw deflate.
                continue
            raise IncompleteBody(f"its {codings[0]} data ends too early")
        return found, truncated
    return None


def text_of(body: bytes, content_type: str, *, truncated: bool) -> str | None:
    """Decode a body by the charset of its Content-Type, or as UTF-8. Return None if it is not text."""
    named = _CHARSET.search(content_type)
    try:
        codec = codecs.lookup(named[1] if named else "utf-8")
    except (LookupError, ValueError):
        return None
    if not codec.name.startswith(_CHARSETS) or codec.incrementaldecoder is None:
        return None
    try:
        # A truncated text may end within a character.
        text = codec.incrementaldecoder("strict").decode(body, not truncated)
    except UnicodeError:
        return None
    return None if "\0" in text else text


def _inflate(body: bytes, wbits: int) -> tuple[bytes, bool]:
    """Return the decompressed data, up to one byte over the limit, and whether the end mark was reached."""
    found = b""
    while True:
        reader = zlib.decompressobj(wbits)
        found += reader.decompress(body, MAX_BODY_BYTES + 1 - len(found))
        body = reader.unused_data
        # A gzip file may have several members.
        if not reader.eof or len(found) > MAX_BODY_BYTES or wbits <= zlib.MAX_WBITS or not body.startswith(_MAGIC):
            return found, reader.eof
