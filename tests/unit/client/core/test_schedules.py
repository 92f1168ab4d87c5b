"""Schedules: what is sent, and requests whose responses were lost."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from acked_client import NoResponse, RetryPolicy, ScheduleDefinition, problems
from acked_client.core import schedules
from acked_client.core.effects import Response
from support.client_flows import LOST, NEVER_SENT, Script, backfill, firing, ok, refused, schedule, session


def fired(*found: dict[str, Any]) -> Response:
    return ok({"firings": list(found)})


def test_definition_is_sent_whole_and_again_after_a_loss() -> None:
    definition = ScheduleDefinition(
        kind="noop",
        cron="30 2 * * *",
        timezone="Europe/Berlin",
        from_at=datetime(2026, 1, 1, tzinfo=UTC),
        payload={"full": True},
        overlap="queue_one",
        paused=False,
    )
    script = Script([LOST, ok(schedule(), 201)])
    assert script.run(schedules.put(session(), "nightly", definition)).name == "nightly"
    first, second = script.requests
    assert first == second and (first.method, first.path) == ("PUT", "/schedules/nightly")
    assert json.loads(first.body or b"") == {
        "kind": "noop",
        "cron": "30 2 * * *",
        "timezone": "Europe/Berlin",
        "from": "2026-01-01T00:00:00+00:00",
        "payload": {"full": True},
        "overlap": "queue_one",
        "paused": False,
    }


def test_definition_that_can_mean_nothing_is_refused_before_anything_is_sent() -> None:
    script = Script([])
    for wrong, error in (
        (ScheduleDefinition(kind="noop", every_s=60, tags="abc"), TypeError),
        (ScheduleDefinition(kind="noop", every_s=60, from_at=datetime(2026, 1, 1)), ValueError),
    ):
        with pytest.raises(error):
            script.run(schedules.put(session(), "nightly", wrong))
    assert script.sent == []


def test_schedule_is_read_with_its_bounds_and_newest_firing() -> None:
    known = schedule(until="2027-01-01T00:00:00.000Z", last_firing=firing(), payload=[1])
    found = Script([ok(known)]).run(schedules.details(session(), "nightly"))
    assert (found.from_at, found.until_at) == (None, datetime(2027, 1, 1, tzinfo=UTC))
    assert found.last_firing is not None and found.last_firing.outcome == "started" and found.payload == [1]


def test_names_are_quoted() -> None:
    script = Script([ok(schedule())])
    script.run(schedules.details(session(), "../jobs"))
    assert script.requests[0].path == "/schedules/..%2Fjobs"


def test_delete_is_not_repeated_once_the_schedule_is_gone() -> None:
    script = Script([ok(schedule(payload=7)), LOST, refused("not-found", 404)])
    assert script.run(schedules.delete(session(), "nightly")).payload == 7
    assert [request.method for request in script.requests] == ["GET", "DELETE", "GET"]


def test_delete_spares_a_schedule_that_was_made_since() -> None:
    younger = schedule(made_at="2026-11-24T11:00:00.000Z", payload=8)
    script = Script([ok(schedule(payload=7)), Response(504), ok(younger)])
    assert script.run(schedules.delete(session(), "nightly")).payload == 7
    assert [request.method for request in script.requests] == ["GET", "DELETE", "GET"]


def test_delete_that_did_not_arrive_is_repeated() -> None:
    script = Script([ok(schedule()), LOST, ok(schedule()), NEVER_SENT, ok(schedule())])
    assert script.run(schedules.delete(session(), "nightly")).name == "nightly"
    assert [request.method for request in script.requests] == ["GET", "DELETE", "GET", "DELETE", "DELETE"]


def test_delete_of_no_schedule_is_the_problem() -> None:
    script = Script([refused("not-found", 404)])
    with pytest.raises(problems.NotFound):
        script.run(schedules.delete(session(), "nightly"))
    assert len(script.sent) == 1


def test_run_now_whose_response_was_lost_is_not_repeated() -> None:
    earlier, planned = firing(trigger="run_now"), firing(at="2026-11-24T10:30:00.000Z")
    new = firing(trigger="run_now", at="2026-11-24T10:31:00.000Z", outcome="asked", job=None)
    # The schedule fires by itself meanwhile, which is no sign of the request.
    script = Script([fired(earlier), LOST, fired(planned, earlier), LOST, fired(new, planned, earlier)])
    found = script.run(schedules.run_now(session(), "nightly"))
    assert (found.outcome, found.at) == ("asked", datetime(2026, 11, 24, 10, 31, tzinfo=UTC))
    assert [request.method for request in script.requests] == ["GET", "POST", "GET", "POST", "GET"]


def test_run_now_that_joined_the_firing_before_it_is_found() -> None:
    skipped = firing(trigger="run_now", outcome="skipped", why="overlap", job=None)
    joined = skipped | {"count": 2, "last_at": "2026-11-24T10:31:00.000Z"}
    found = Script([fired(skipped), LOST, fired(joined)]).run(schedules.run_now(session(), "nightly"))
    assert (found.count, found.why) == (2, "overlap")


def test_run_now_without_a_server_gives_up() -> None:
    script = Script([fired(), LOST])
    with pytest.raises(NoResponse):
        script.run(schedules.run_now(session(RetryPolicy(budget_s=0)), "nightly"))


def test_backfill_is_sent_with_what_is_set_and_again_after_a_loss() -> None:
    script = Script([LOST, ok(backfill(), 202)])
    at = datetime(2026, 11, 1, tzinfo=UTC)
    found = script.run(schedules.backfill(session(), "nightly", at, None, 5))
    assert (found.from_at, found.next_at, found.ended_at) == (at, datetime(2026, 11, 1, 1, 30, tzinfo=UTC), None)
    first, second = script.requests
    assert first == second and (first.method, first.path) == ("POST", "/schedules/nightly/backfill")
    assert json.loads(first.body or b"") == {"from": "2026-11-01T00:00:00+00:00", "limit": 5}
    with pytest.raises(ValueError, match="time zone"):
        script.run(schedules.backfill(session(), "nightly", datetime(2026, 11, 1), None, None))


def test_pause_has_its_reason_and_preview_its_count() -> None:
    paused = {"client": "ada", "reason": "moving", "since": "2026-11-24T10:06:45.759Z"}
    instant = {
        "at": "2026-11-24T10:00:00.000Z",
        "local": "2026-11-24T11:00:00+01:00",
        "fires_at": schedule()["made_at"],
    }
    preview = {"timezone": "Europe/Berlin", "time_zone_data": "2026f", "instants": [instant]}
    script = Script([ok(schedule(paused=paused)), ok(schedule()), ok(schedule()), ok(preview)])
    found = script.run(schedules.pause(session(), "nightly", "moving"))
    assert found.paused is not None and found.paused.reason == "moving"
    script.run(schedules.pause(session(), "nightly", None))
    script.run(schedules.resume(session(), "nightly"))
    shown = script.run(schedules.preview(session(), "nightly", 3))
    assert (shown.time_zone_data, shown.instants[0].local) == ("2026f", instant["local"])
    assert [request.body for request in script.requests] == [b'{"reason":"moving"}', None, None, None]
    assert script.requests[-1].query == {"count": "3"}


def test_list_is_read_page_by_page() -> None:
    first = {name: value for name, value in schedule().items() if name != "payload"}
    pages = schedules.schedules(session())
    script = Script([ok({"schedules": [first], "next_page_token": "more"}), ok({"schedules": []})])
    assert [found.name for found in script.run(pages.next())] == ["nightly"] and not pages.is_done
    assert script.run(pages.next()) == [] and pages.is_done
    assert script.requests[1].query == {"page_size": "200", "page_token": "more"}


def test_preview_of_a_definition_sends_it_whole() -> None:
    found = {"timezone": "UTC", "time_zone_data": "2026c", "instants": []}
    script = Script([LOST, ok(found)])
    definition = ScheduleDefinition(kind="noop", every_s=60)
    assert script.run(schedules.preview_of(session(), "nightly", definition, 5)).time_zone_data == "2026c"
    for request in script.requests:
        assert (request.method, request.path, request.query) == ("POST", "/schedules/nightly/next", {"count": "5"})
        assert json.loads(request.body or b"") == {"kind": "noop", "every_s": 60}
