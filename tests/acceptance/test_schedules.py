"""Schedules on running processes: they fire, pause, run now, show what comes, and survive the death of an intake."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from acked_common.model.ids import instant_of, parse_id
from acked_common.model.instants import rfc3339
from acked_common.model.lifecycle import State
from support.contract import assert_problem, instant
from support.stacks import Answer, StartStack, TestStack, eventually

KIND = "noop"
FIRES_WITHIN_S = 20.0
EVERY_S = 2


@pytest.fixture(scope="module")
def stack(start_stack: StartStack) -> TestStack:
    return start_stack({}, {"intake": 2})


def put(stack: TestStack, name: str, **fields: Any) -> Answer:
    return stack.call("PUT", f"/schedules/{name}", {"kind": KIND, **fields})


def defined(stack: TestStack, name: str, **fields: Any) -> Any:
    answer = put(stack, name, **fields)
    assert answer.status in (200, 201), answer.raw
    return answer.body


def act(stack: TestStack, name: str, verb: str, status: int = 200, body: Any = None) -> Any:
    answer = stack.call("POST", f"/schedules/{name}/{verb}", body)
    assert answer.status == status, answer.raw
    return answer.body


def firings(stack: TestStack, name: str, outcome: str | None = "started") -> list[Any]:
    answer = stack.call("GET", f"/schedules/{name}/firings")
    assert answer.status == 200, answer.raw
    return [one for one in answer.body["firings"] if outcome in (None, one["outcome"])]


def more_firings(stack: TestStack, name: str, than: int) -> list[Any]:
    return eventually(
        lambda: len(found := firings(stack, name)) > than and found, within_s=FIRES_WITHIN_S, what="it fires"
    )


def test_a_schedule_fires_into_jobs_that_succeed(stack: TestStack) -> None:
    made = put(stack, "tick", every_s=1, overlap="all", payload={"n": 7}, tags=["mine"])
    assert (made.status, made.body["revision"], made.body["payload"]) == (201, 1, {"n": 7})
    again = put(stack, "tick", every_s=1, overlap="all", payload={"n": 7}, tags=["mine"])
    assert (again.status, again.body["revision"]) == (200, 1)
    found = more_firings(stack, "tick", than=2)
    assert len({one["at"] for one in found}) == len(found)
    for one in found[:3]:
        job = stack.finished(one["job"])
        assert job["state"] == State.SUCCEEDED
        job_id = parse_id(one["job"])
        assert job_id is not None and instant_of(job_id) == instant(one["at"])
    listed = stack.call("GET", "/jobs?tag=schedule:tick").body["jobs"]
    assert {job["id"] for job in listed} >= {one["job"] for one in found[:3]}
    assert stack.call("GET", f"/jobs/{found[0]['job']}").body["payload"] == {"n": 7}


def test_a_paused_schedule_rests_and_runs_when_asked(stack: TestStack) -> None:
    defined(stack, "rests", every_s=1, overlap="all")
    more_firings(stack, "rests", than=0)
    paused = act(stack, "rests", "pause", body={"reason": "tired"})
    assert (paused["paused"]["reason"], paused["next_at"]) == ("tired", None)
    asked = act(stack, "rests", "run-now", 202)
    assert (asked["outcome"], asked["trigger"]) == ("asked", "run_now")
    ran = eventually(
        lambda: [one for one in firings(stack, "rests") if one["trigger"] == "run_now"],
        within_s=FIRES_WITHIN_S,
        what="it runs",
    )
    assert [one["job"] for one in ran] == [asked["job"]]
    assert stack.finished(asked["job"])["state"] == State.SUCCEEDED
    since = instant(paused["paused"]["since"])
    assert all(instant(one["at"]) <= since for one in firings(stack, "rests") if one["trigger"] == "schedule")
    assert act(stack, "rests", "resume")["paused"] is None
    eventually(
        lambda: any(instant(one["at"]) > since and one["trigger"] == "schedule" for one in firings(stack, "rests")),
        within_s=FIRES_WITHIN_S,
        what="it fires again",
    )
    actions = [entry["action"] for entry in stack.call("GET", "/audit?page_size=200").body["entries"]]
    assert {"schedule_put", "schedule_pause", "schedule_run", "schedule_resume"} <= set(actions)


def test_a_firing_is_skipped_while_its_job_is_live(stack: TestStack) -> None:
    defined(stack, "long", kind="demo", every_s=1, payload={"seconds": 600})
    skipped = eventually(lambda: firings(stack, "long", "skipped"), within_s=FIRES_WITHIN_S, what="it is skipped")
    assert (skipped[0]["why"], skipped[0]["job"]) == ("overlap", None)
    (started,) = firings(stack, "long")
    assert started["job_state"] in (State.QUEUED, State.RUNNING)
    stack.call("POST", f"/jobs/{started['job']}/cancel")
    more_firings(stack, "long", than=1)
    assert stack.call("DELETE", "/schedules/long").status == 200
    assert_problem(stack, stack.call("GET", "/schedules/long"), 404, "not-found")


def test_the_next_instants_follow_the_time_zone(stack: TestStack) -> None:
    defined(stack, "berlin", cron="30 2 * * *", timezone="Europe/Berlin")
    preview = stack.call("GET", "/schedules/berlin/next?count=400").body
    assert (preview["timezone"], preview["time_zone_data"][:2], len(preview["instants"])) == (
        "Europe/Berlin",
        "20",
        400,
    )
    locals_ = {one["local"][11:] for one in preview["instants"]}
    assert locals_ == {"02:30:00+01:00", "02:30:00+02:00", "03:00:00+02:00"}
    days = [instant(one["at"]) for one in preview["instants"]]
    assert all(timedelta(hours=22) < later - earlier < timedelta(hours=26) for earlier, later in pairwise(days))
    for count in ("0", "5001", "x"):
        assert_problem(stack, stack.call("GET", f"/schedules/berlin/next?count={count}"), 422, "bad-count")


def test_past_instants_are_backfilled_once(stack: TestStack) -> None:
    made = defined(stack, "past", every_s=60, overlap="all", tags=["mine"])
    now = instant(made["made_at"])
    wanted = {"from": rfc3339(now - timedelta(minutes=30)), "until": rfc3339(now)}

    def backfilled(**fields: Any) -> Any:
        act(stack, "past", "backfill", 202, {**wanted, **fields})

        def ended() -> Any:
            found = stack.call("GET", "/schedules/past").body["backfill"]
            return found if found["ended_at"] else None

        return eventually(ended, within_s=FIRES_WITHIN_S, what="the backfill has ended")

    first = backfilled(limit=12)
    assert (first["started"], first["present"]) == (12, 0)
    rest = backfilled()
    assert (rest["started"] + rest["present"], rest["present"] >= 12) == (30, True)
    assert backfilled()["started"] == 0
    jobs = stack.call("GET", "/jobs?tag=schedule:past&page_size=200").body["jobs"]
    instants = [instant_of(job_id) for job in jobs if (job_id := parse_id(job["id"])) is not None]
    assert len(set(instants)) == len(instants) and sum(at < now for at in instants) == 30
    assert {one["trigger"] for one in firings(stack, "past")} >= {"backfill"}
    entries = stack.call("GET", "/audit?action=schedule_backfill").body["entries"]
    assert [entry["target"]["schedule"] for entry in entries] == ["past"] * 3
    stack.call("DELETE", "/schedules/past")


def test_schedules_are_listed_in_pages(stack: TestStack) -> None:
    for n in range(3):
        defined(stack, f"page-{n}", cron="0 0 1 1 *")
    names, token = [], ""
    while True:
        page = stack.call("GET", f"/schedules?page_size=2&page_token={token}").body
        names += [one["name"] for one in page["schedules"]]
        assert len(page["schedules"]) <= 2
        if not (token := page["next_page_token"]):
            break
    assert names == sorted(set(names))
    assert {"page-0", "page-1", "page-2"} <= set(names)
    assert_problem(stack, stack.call("GET", "/schedules?page_token=!"), 422, "invalid-field")


@pytest.mark.parametrize(
    ("fields", "pointer", "says"),
    [
        ({"cron": "* * * * * *"}, "/cron", "five fields, without seconds"),
        ({"cron": "0 0 31 2 *"}, "/cron", "never fires"),
        ({"cron": "@daily", "timezone": "Mars"}, "/timezone", "is not a time zone"),
        ({"every_s": 0}, "/every_s", "whole number of seconds"),
        ({"cron": "@daily", "every_s": 5}, "/every_s", "send one of them"),
        ({}, "/every_s", "or cron must be there"),
        ({"every_s": 60, "until": "2020-01-01T00:00:00Z"}, "/until", "never fire"),
        ({"every_s": 60, "from": "15m"}, "/from", "must be an instant"),
        ({"every_s": 60, "overlap": "maybe"}, "/overlap", "must be one of skip"),
        ({"every_s": 60, "payload": "x" * 70_000}, "/payload", "has 70,002 bytes"),
        ({"every_s": 60, "tags": [str(n) for n in range(16)]}, "/tags", "at most 15 tags"),
        ({"every_s": 60, "catch_up_s": 1}, "/catch_up_s", "from 10 to"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_definition_that_cannot_work_is_refused(
    stack: TestStack, fields: dict[str, Any], pointer: str, says: str
) -> None:
    assert_problem(stack, put(stack, "wrong", **fields), 422, "invalid-field", pointers=[pointer], says=says)
    assert stack.call("GET", "/schedules/wrong").status == 404


def test_unknown_names_are_refused(stack: TestStack) -> None:
    assert_problem(stack, put(stack, "wrong", every_s=5, priority=1), 422, "unknown-field", pointers=["/priority"])
    assert_problem(stack, put(stack, "wrong", every_s=5, kind="no-such-kind"), 422, "unknown-kind")
    assert_problem(stack, put(stack, "Wrong Name".replace(" ", "%20"), every_s=5), 422, "invalid-field")


def test_no_instant_is_doubled_when_an_intake_is_killed(stack: TestStack) -> None:
    defined(stack, "survives", every_s=EVERY_S, overlap="all")
    for name in ("intake-1", "intake-2"):
        newest = max(instant(one["at"]) for one in more_firings(stack, "survives", than=0))
        killed = stack.stack.parts.kill(name)
        eventually(
            lambda newest=newest: sum(instant(one["at"]) > newest for one in firings(stack, "survives")) > 2,  # type: ignore[misc]
            within_s=FIRES_WITHIN_S,
            what="the others fire",
        )
        eventually(
            lambda name=name, killed=killed: stack.stack.parts.pid(name) not in (0, killed),  # type: ignore[misc]
            within_s=30,
            what="it runs again",
        )
    act(stack, "survives", "pause")
    eventually(
        lambda: not firings(stack, "survives", "starting"), within_s=FIRES_WITHIN_S, what="the last one has started"
    )
    jobs = stack.call("GET", "/jobs?tag=schedule:survives&page_size=200").body["jobs"]
    instants = sorted(instant_of(job_id) for job in jobs if (job_id := parse_id(job["id"])) is not None)
    every = timedelta(seconds=EVERY_S)
    assert [later - earlier for earlier, later in pairwise(instants)] == [every] * (len(jobs) - 1)
    shown = {one["job"] for one in firings(stack, "survives")}
    assert shown <= {job["id"] for job in jobs}
