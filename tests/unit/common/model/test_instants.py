"""Instants as clients name them, and the ids that were made before them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked_common.model.ids import first_id_at, id_at
from acked_common.model.instants import instant_from, rfc3339, whole_ms

NOW = datetime(2026, 11, 24, 10, 6, 45, 746_000, UTC)
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
INSTANTS = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)).map(whole_ms)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-24T10:00:00Z", NOW.replace(minute=0, second=0, microsecond=0)),
        ("2026-11-24t10:00:00.1234z", NOW.replace(minute=0, second=0, microsecond=123_000)),
        ("2026-11-24T12:00:00+02:00", NOW.replace(minute=0, second=0, microsecond=0)),
        ("90s", NOW - timedelta(seconds=90)),
        ("15m", NOW - timedelta(minutes=15)),
        ("0h", NOW),
        ("8d", NOW - timedelta(days=8)),
        ("999999d", BEGINNING),
        ("0001-01-01T00:00:00Z", BEGINNING),
    ],
)
def test_an_instant_is_absolute_or_so_long_ago(text: str, meant: datetime) -> None:
    assert instant_from(text, NOW) == meant


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "1", "1w", "-1h", "1.5h", "1 h", "1H", "٣h", "1000000s"),
        *("2026-11-24", "2026-11-24T10:00:00", "2026-11-24 10:00:00Z", "2026-02-30T10:00:00Z", "20261124T100000Z"),
        *("2026-11-24T10:00:00Z ", "2026-11-24T10:00Z", "2026-W48-2T10:00:00Z", "0001-01-01T00:00:00+23:00"),
    ],
)
def test_what_names_no_instant_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        instant_from(text, NOW)


@given(INSTANTS)
def test_what_responses_write_is_read_again(at: datetime) -> None:
    assert instant_from(rfc3339(at), NOW) == at
    assert instant_from(at.astimezone(timezone(timedelta(hours=-5))).isoformat(timespec="milliseconds"), NOW) == at


@given(INSTANTS, st.integers(1, 10**9))
def test_ids_stand_on_their_side_of_an_instant(at: datetime, later_ms: int) -> None:
    assert first_id_at(at) < id_at(at) < first_id_at(at + timedelta(milliseconds=later_ms))
    assert id_at(at).version == 7
    assert id_at(at).variant == "specified in RFC 4122"
