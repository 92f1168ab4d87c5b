"""Instants as Acked stores and shows them: UTC, whole milliseconds. Pure."""

from datetime import UTC, datetime


def whole_ms(instant: datetime) -> datetime:
    """Cut an instant to the milliseconds that MongoDB stores."""
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


def rfc3339(instant: datetime) -> str:
    """Format an instant as every response writes it: `2026-01-02T03:04:05.678Z`."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
