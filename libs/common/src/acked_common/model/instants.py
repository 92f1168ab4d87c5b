"""Instants as Acked stores, shows and reads them: UTC, whole milliseconds. Pure."""

import re
from datetime import UTC, datetime, timedelta

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)")
_BACK = re.compile(r"([0-9]{1,6})([smhd])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


def whole_ms(instant: datetime) -> datetime:
    """Cut an instant to the milliseconds that MongoDB stores."""
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


def rfc3339(instant: datetime) -> str:
    """Format an instant as every response writes it: `2026-01-02T03:04:05.678Z`."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def instant_from(text: str, now: datetime) -> datetime:
    """Parse an instant of RFC 3339, or a duration before `now`, such as 15m, 1h or 8d. Raises ValueError.

    Instants before 1970 count as the beginning of 1970.
    """
    if (back := _BACK.fullmatch(text)) is not None:
        seconds = int(back[1]) * _UNIT_S[back[2]]
        # A year has four digits; an earlier instant counts as the beginning.
        return max(now - timedelta(seconds=seconds), _EARLIEST) if seconds < now.timestamp() else _EARLIEST
    if _RFC3339.fullmatch(text) is None or not text.isascii():
        raise ValueError(text)
    try:
        found = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError:
        raise ValueError(text) from None
    return max(whole_ms(found), _EARLIEST)
