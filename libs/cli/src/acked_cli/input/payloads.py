"""Read payloads and rows of submissions: strictly, since the services would refuse what a lenient parser changes."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from acked_cli.input.words import BadInput
from acked_client import Callback, Submission

STDIN = "-"
MAX_BYTES = 16 * 1024 * 1024
"""Of one payload or one line. The services take less; what is longer is not read into memory."""
FIELDS = (
    "payload",
    "idempotency_key",
    "batch",
    "tags",
    "delay_s",
    "max_attempts",
    "timeout_s",
    "expires_in_s",
    "callback",
)
"""Members of a row beside `kind`."""
_NULL = "null can't be sent as a payload: omit it to send an empty object"


def read_json(text: str | bytes, what: str) -> Any:
    """Return a JSON value. Raise `BadInput` for what is none, for duplicate names, and for NaN and infinities."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except RecursionError:
        raise BadInput(f"{what} is nested too deeply") from None
    except BadInput as error:
        raise BadInput(f"{what} {error}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{what} is not JSON: {error}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise BadInput(f"has the name {next(name for name in names if names.count(name) > 1)!r} twice")
    return found


def _constant(name: str) -> Any:
    raise BadInput(f"contains {name}, which is not JSON")


def read_value(word: str | None, what: str = "the payload") -> Any:
    """Return the JSON of an option: itself, of a file (`@file`), or of standard input (`-`). None for no option."""
    if word is None:
        return None
    if word == STDIN:
        return read_json(_bounded(sys.stdin.buffer, "standard input"), what)
    if not word.startswith("@"):
        return read_json(word, what)
    with _opened(word[1:]) as file:
        return read_json(_bounded(file, word[1:]), what)


def read_payload(word: str | None) -> Any:
    """Return a payload; None for no option. Raise `BadInput` for null."""
    found = read_value(word)
    if word is not None and found is None:
        raise BadInput(_NULL)
    return found


def _bounded(file: IO[bytes], name: str) -> bytes:
    found = file.read(MAX_BYTES + 1)
    if len(found) > MAX_BYTES:
        raise BadInput(f"{name} has more than {MAX_BYTES:,} bytes")
    return found


def _opened(name: str) -> IO[bytes]:
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise BadInput(f"{name} can't be read: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class FileLine:
    """A line of a file of submissions, with its number from 1. `fault` says why it is none."""

    number: int
    submission: Submission | None
    fault: str | None = None


def read_rows(name: str, key_prefix: str) -> Iterator[FileLine]:
    """Yield the lines of a file, or of standard input (`-`); blank ones are skipped but counted.

    A line without a key gets one of the prefix and its number, so the same file with the same prefix is the same jobs,
    also after other lines were corrected.
    """
    if name == STDIN:
        yield from _rows_of(sys.stdin.buffer, key_prefix)
        return
    with _opened(name) as file:
        yield from _rows_of(file, key_prefix)


def _rows_of(file: IO[bytes], key_prefix: str) -> Iterator[FileLine]:
    number = 0
    while text := file.readline(MAX_BYTES + 1):
        number += 1
        if len(text) > MAX_BYTES and not text.endswith(b"\n"):
            while (rest := file.readline(MAX_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield FileLine(number, None, f"has more than {MAX_BYTES:,} bytes")
        elif text.strip():
            yield _line(number, text, key_prefix)


def _line(number: int, text: bytes, key_prefix: str) -> FileLine:
    try:
        return FileLine(number, _submission(read_json(text, "it"), f"{key_prefix}:{number}"))
    except BadInput as error:
        return FileLine(number, None, str(error))


def _submission(row: Any, key: str) -> Submission:
    if not isinstance(row, dict) or not isinstance(row.get("kind"), str):
        raise BadInput('it is not an object with a kind, such as {"kind": "demo", "payload": {}}')
    unknown = sorted(row.keys() - {"kind", *FIELDS})
    if unknown:
        raise BadInput(f"the field {unknown[0]!r} is unknown; known are kind, {', '.join(FIELDS)}")
    tags = row.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise BadInput("tags is not a list of strings")
    if "payload" in row and row["payload"] is None:
        raise BadInput(_NULL)
    given = row.get("idempotency_key")
    if given is not None and not isinstance(given, str):
        raise BadInput("idempotency_key is not a string")
    own = {"tags": tags, "idempotency_key": key if given is None else given, "callback": _callback(row.get("callback"))}
    return Submission(**{**row, **own})


def _callback(value: Any) -> Callback | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("url"), str) or value.keys() - {"url", "events"}:
        raise BadInput('callback is not an object with a url, such as {"url": "https://…", "events": ["job.failed"]}')
    events = value.get("events") or []
    if not isinstance(events, list) or not all(isinstance(event, str) for event in events):
        raise BadInput("events of the callback is not a list of strings")
    return Callback(url=value["url"], events=events)
