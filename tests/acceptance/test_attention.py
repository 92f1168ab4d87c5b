"""Failed jobs by cause: what fails for one reason is one group, before and behind a restart of all services."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from acked_common.model.instants import rfc3339
from acked_common.model.lifecycle import State
from support.nonce import nonce
from support.stacks import CENSUS_WITHIN_S, TestStack, eventually

ENVIRON: dict[str, str] = {}
"""A stack of its own: it counts all failed jobs, and restarts the services."""
EACH = 100
KINDS = ("test.customer", "test.amount", "test.fetch")
RUN = nonce()


def groups(stack: TestStack, query: str = "") -> list[Any]:
    """The groups of the newest census."""
    response = stack.call("GET", f"/attention{query}")
    assert response.status == 200, response.raw
    assert response.body["is_complete"] is True
    found: list[Any] = response.body["groups"]
    return found


def counts(stack: TestStack, query: str = "") -> list[int]:
    return sorted(group["count"] for group in groups(stack, query))


def settled(stack: TestStack, expected: Sequence[int], query: str = "") -> list[Any]:
    """The groups, as soon as the census has counted what there is."""
    eventually(
        lambda: counts(stack, query) == list(expected),
        within_s=CENSUS_WITHIN_S,
        what=f"groups of {expected}: {counts(stack, query)}",
    )
    return groups(stack, query)


def submit(stack: TestStack, kind: str, number: int, **payload: Any) -> None:
    ids = [stack.process(kind, payload={"run": RUN, "n": n, **payload}, batch=f"groups-{RUN}") for n in range(number)]
    for job_id in ids:
        assert stack.finished(job_id)["state"] == State.FAILED


def listed(stack: TestStack, group: str, query: str = "") -> list[Any]:
    response = stack.call("GET", f"/jobs?error.group={group}&page_size=1000{query}")
    assert response.status == 200, response.raw
    assert response.body["next_page_token"] == ""
    jobs: list[Any] = response.body["jobs"]
    return jobs


def test_failures_of_one_cause_are_one_group_whatever_their_messages_say(stack: TestStack) -> None:
    for kind in KINDS:
        submit(stack, kind, EACH)

    three = settled(stack, [EACH] * len(KINDS))

    assert {group["kind"] for group in three} == set(KINDS)
    for group in three:
        jobs = listed(stack, group["group"])
        assert {job["kind"] for job in jobs} == {group["kind"]}
        assert len(jobs) == len({job["error"]["message"] for job in jobs}) == EACH, "no message stands twice"
        assert group["message"] in {job["error"]["message"] for job in jobs}
        assert sum(group["per_minute"]) == EACH
        payload = stack.call("GET", f"/jobs/{jobs[0]['id']}").body["payload"]
        assert payload["run"] == RUN
    by_kind = {group["kind"]: group["group"] for group in three}

    submit(stack, "test.customer", EACH, elsewhere=True)

    four = settled(stack, [EACH] * (len(KINDS) + 1))
    (fourth,) = [group for group in four if group["group"] not in by_kind.values()]
    assert fourth["kind"] == "test.customer"
    assert len({group["culprit"] for group in four if group["kind"] == "test.customer"}) == 2

    stack.stack.restart()

    again = settled(stack, [EACH] * len(four))
    assert {group["group"] for group in again} == {group["group"] for group in four}
    submit(stack, "test.amount", 1)
    after = settled(stack, [EACH] * len(KINDS) + [EACH + 1])
    assert {group["group"]: group["count"] for group in after}[by_kind["test.amount"]] == EACH + 1


def test_people_note_on_a_group_and_hide_it_for_a_while(stack: TestStack) -> None:
    submit(stack, "test.fetch", 1)
    (group,) = settled(stack, [EACH + 1], "?kind=test.fetch")
    path = f"/attention/{group['group']}"

    response = stack.call("POST", path, {"comment": f"seen {RUN}", "taken": True, "snooze_s": 5})
    assert response.status == 200, response.raw
    began = time.monotonic()
    assert response.body["comment"] == f"seen {RUN}"
    assert response.body["taken_by"] == "local"
    assert groups(stack, "?kind=test.fetch") == []
    (hidden,) = groups(stack, "?kind=test.fetch&snoozed=true")
    assert (hidden["comment"], hidden["taken_by"]) == (f"seen {RUN}", "local")

    (back,) = eventually(
        lambda: groups(stack, "?kind=test.fetch"), within_s=CENSUS_WITHIN_S, what="the group comes back"
    )
    assert time.monotonic() - began > 4.0
    assert back["comment"] == f"seen {RUN}"
    assert stack.call("POST", path, {"coment": "typo"}).status == 422
    assert stack.call("POST", "/attention/1absent", {"taken": True}).status == 404


def test_a_group_whose_jobs_run_again_is_gone(stack: TestStack) -> None:
    submit(stack, "test.amount", 1)
    (group,) = groups(stack, "?kind=test.amount")
    for job in listed(stack, group["group"]):
        response = stack.call("POST", f"/jobs/{job['id']}/resolve", {"state": State.SUCCEEDED, "note": RUN})
        assert response.status == 200, response.raw

    settled(stack, [], "?kind=test.amount")

    assert listed(stack, group["group"]) == []


def test_lists_show_the_jobs_of_a_span_of_time(stack: TestStack) -> None:
    (group, *_) = groups(stack, "?kind=test.fetch")
    jobs = listed(stack, group["group"])
    middle = jobs[len(jobs) // 2]["id"]
    at = rfc3339(datetime.fromtimestamp((UUID(middle).int >> 80) / 1000, UTC))

    newer, older = listed(stack, group["group"], f"&since={at}"), listed(stack, group["group"], f"&until={at}")

    assert [job["id"] for job in newer + older] == [job["id"] for job in jobs]
    assert middle in {job["id"] for job in newer}
    assert older and all(job["id"] < middle for job in older)
    assert len(listed(stack, group["group"], "&since=1h")) == len(jobs)
    assert listed(stack, group["group"], "&until=1h") == []


@pytest.mark.long
def test_the_oldest_waiting_job_is_told_by_its_age(stack: TestStack) -> None:
    kind = '{kind="noop"}'
    stack.stack.scale({"worker": 0})
    job = stack.status(stack.process("noop", payload={"run": RUN}))
    queued_at = datetime.fromisoformat(job["accepted_at"])

    def age_s() -> float:
        return (datetime.now(UTC) - queued_at).total_seconds()

    told = eventually(
        lambda: stack.metric("acked_oldest_waiting_seconds", kind), within_s=CENSUS_WITHIN_S, what="the job waits"
    )
    assert abs(told - age_s()) < 2.0
    eventually(lambda: age_s() > 8.0, within_s=20, what="some time has passed")
    assert abs(stack.metric("acked_oldest_waiting_seconds", kind) - age_s()) < 2.0
    assert stack.metric("acked_jobs", '{kind="noop",state="queued"}') == 1.0
    failed = sum(group["count"] for group in groups(stack, "?kind=test.fetch"))
    assert stack.metric("acked_attention_jobs", '{kind="test.fetch"}') == failed > 0
    stack.stack.scale({"worker": 1})
    assert stack.finished(job["id"])["state"] == State.SUCCEEDED
    eventually(
        lambda: stack.metric("acked_oldest_waiting_seconds", kind) == 0.0, within_s=CENSUS_WITHIN_S, what="none waits"
    )
    assert f"acked_oldest_waiting_seconds{kind}" not in stack.call("GET", "/metrics").raw.decode(), (
        "none waits: no series"
    )
