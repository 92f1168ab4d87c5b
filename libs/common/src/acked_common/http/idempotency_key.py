"""Read the header `Idempotency-Key`. Pure."""

from collections.abc import Iterable

from acked_common.http.problems import ProblemError, problem
from acked_common.model.names import IDEMPOTENCY_KEY

HEADER = b"idempotency-key"


def key_in(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the key of a request, or None without one. Raises `ProblemError` with 400.

    `"a"` in double quotes, as the draft of the header's standard writes it, is the key `a`.
    """
    found: bytes | None = None
    for name, value in headers:
        if name == HEADER:
            if found is not None:
                raise _bad_key("the request has more than one Idempotency-Key")
            found = value
    if found is None:
        return None
    text = found.strip(b" \t").decode("latin-1")
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if IDEMPOTENCY_KEY.fullmatch(text) is None:
        raise _bad_key(f"this one has {len(text):,}" if len(text) > 255 else "this one is empty or has others")
    return text


def _bad_key(why: str) -> ProblemError:
    detail = f"an Idempotency-Key has 1 to 255 of the characters A-Z, a-z, 0-9, '.', '_', ':' and '-', and {why}"
    return ProblemError(problem("bad-idempotency-key", f"{detail}. Nothing was stored"))
