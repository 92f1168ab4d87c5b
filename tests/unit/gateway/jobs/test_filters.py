"""The filters of lists as clients write them."""

from datetime import UTC, datetime, timedelta

import pytest

from acked_common.http.problems import ProblemError
from acked_common.model.lifecycle import State
from acked_common.store.records import JobFilter
from acked_gateway.jobs.filters import FILTERS, read_filter

NOW = datetime(2026, 1, 9, 12, 0, 0, tzinfo=UTC)


def read(**values: str) -> JobFilter:
    return read_filter({name.replace("_", "."): text for name, text in values.items()}, tenant="acme", now=NOW)


def refused(at: str = "?", **values: str) -> dict[str, str]:
    given = {name.replace("_", "."): text for name, text in values.items()}
    with pytest.raises(ProblemError) as error:
        read_filter(given, tenant="acme", now=NOW, at=at)
    assert error.value.problem.name == "invalid-field"
    return {found["pointer"]: found["detail"] for found in error.value.problem.errors}


def test_texts_become_the_filter_that_they_name() -> None:
    assert read() == JobFilter(tenant="acme")
    assert read(**dict.fromkeys((name.replace(".", "_") for name in FILTERS), "")) == JobFilter(tenant="acme")
    assert read(state="queued", kind="k", batch="b", tag="t") == JobFilter(State.QUEUED, "k", "b", "t", "acme")


@pytest.mark.parametrize("state", ["", "failed"])
def test_a_group_selects_failed_jobs(state: str) -> None:
    assert read(error_group="1a", state=state) == JobFilter(State.FAILED, tenant="acme", error_group="1a")


def test_a_group_beside_another_state_is_refused() -> None:
    assert refused(error_group="ungrouped", state="queued").keys() == {"?state"}


@pytest.mark.parametrize("state", ["", "running"])
def test_a_worker_has_the_jobs_that_it_runs(state: str) -> None:
    assert read(worker="worker-1", state=state) == JobFilter(State.RUNNING, tenant="acme", worker="worker-1")


def test_a_worker_beside_another_state_or_a_group_is_refused() -> None:
    assert refused(worker="worker-1", state="queued").keys() == {"?state"}
    assert refused(worker="worker-1", error_group="1a").keys() == {"?state"}


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("24h", timedelta(hours=24)),
        ("8d", timedelta(days=8)),
    ],
)
def test_durations_count_back_from_now(text: str, ago: timedelta) -> None:
    assert read(since=text).since_at == NOW - ago
    assert read(until=text).until_at == NOW - ago


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-01-08T12:00:00Z", datetime(2026, 1, 8, 12, tzinfo=UTC)),
        ("2026-01-08t12:00:00.25z", datetime(2026, 1, 8, 12, microsecond=250_000, tzinfo=UTC)),
        ("2026-01-08T12:00:00.123456789+02:00", datetime(2026, 1, 8, 10, microsecond=123_000, tzinfo=UTC)),
    ],
)
def test_instants_are_read_as_rfc_3339_writes_them(text: str, at: datetime) -> None:
    assert read(since=text).since_at == at


@pytest.mark.parametrize(
    "text",
    ["yesterday", "1", "h", "-1h", "1.5h", "1w", "2026-01-08", "2026-01-08T12:00:00", "2026-02-30T12:00:00Z", "٣h"],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    assert "such as" in refused(since=text)["?since"]


def test_the_plus_of_an_offset_may_have_become_a_space() -> None:
    assert read(until="2026-01-08T12:00:00 01:00").until_at == datetime(2026, 1, 8, 11, tzinfo=UTC)


def test_an_empty_span_is_refused() -> None:
    assert refused(since="1h", until="2h").keys() == {"?until"}
    assert read(since="2h", until="1h").until_at == NOW - timedelta(hours=1)


def test_all_that_is_wrong_is_named_where_it_stands() -> None:
    assert refused("/filter/", state="done", error_group="a b", since="x").keys() == {
        "/filter/state",
        "/filter/error.group",
        "/filter/since",
    }
