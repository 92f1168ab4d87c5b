"""Jobs, batches and workers over HTTP."""

import asyncio
import base64
import threading
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from acked_common.api.representations import summary_fields
from acked_common.http.responses import encode
from acked_common.model.ids import id_at
from acked_common.model.instants import rfc3339
from acked_common.model.lifecycle import State
from acked_common.store.records import Job, WorkerRecord
from acked_gateway.jobs import commands as commands_module
from acked_gateway.jobs import routes as routes_module
from acked_gateway.jobs.commands import parse_resolution
from acked_gateway.jobs.operations import DEFAULT_PAGE, MAX_PAGE
from acked_gateway.jobs.routes import SLICE_BYTES
from support.asgi import call
from support.factories import failed, insert, new_job, queued, running, scheduled, succeeded
from support.job_routes_bench import JobRoutesBench as Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


def ids(page: Any) -> list[UUID]:
    return [UUID(job["id"]) for job in page["jobs"]]


async def test_jobs_are_listed_newest_first_without_their_bodies(bench: Bench) -> None:
    jobs = await insert(bench.store, *(new_job() for _ in range(3)))
    page = await bench.listed()
    assert ids(page) == [job.id for job in reversed(jobs)]
    assert page["next_page_token"] == ""
    assert "payload" not in page["jobs"][0]


async def test_pages_follow_each_other_without_a_gap(bench: Bench) -> None:
    jobs = await insert(bench.store, *(new_job() for _ in range(7)))
    found: list[UUID] = []
    token, pages = "", 0
    while True:
        page = await bench.listed(f"?page_size=3&page_token={token}")
        found += ids(page)
        token, pages = page["next_page_token"], pages + 1
        if not token:
            break
    assert found == [job.id for job in reversed(jobs)]
    assert pages == 3


async def test_page_token_of_another_list_is_refused(bench: Bench) -> None:
    jobs = await insert(bench.store, *(new_job(kind="a") for _ in range(3)))
    token = (await bench.listed("?page_size=1&kind=a"))["next_page_token"]
    response = await bench.get(f"/jobs?page_size=1&kind=b&page_token={token}")
    assert (response.status, response.json["errors"][0]["pointer"]) == (422, "?page_token")
    assert "other filters" in response.json["detail"]
    assert (await bench.get(f"/jobs?page_token={token}")).status == 422
    assert ids(await bench.listed(f"?page_size=2&kind=a&page_token={token}")) == [jobs[1].id, jobs[0].id]


async def test_page_token_of_an_older_gateway_holds(bench: Bench) -> None:
    jobs = await insert(bench.store, *(new_job() for _ in range(2)))
    older = base64.urlsafe_b64encode(jobs[1].id.bytes).decode().rstrip("=")
    assert ids(await bench.listed(f"?page_token={older}")) == [jobs[0].id]


@pytest.mark.parametrize(("asked", "size"), [("", DEFAULT_PAGE), ("0", 1), ("7", 7), ("999999999", MAX_PAGE)])
async def test_a_page_has_a_bounded_size(bench: Bench, asked: str, size: int) -> None:
    await insert(bench.store, *(new_job() for _ in range(MAX_PAGE + 1)))
    assert len(ids(await bench.listed(f"?page_size={asked}"))) == size


async def test_filters_narrow_a_list(bench: Bench) -> None:
    one = await queued(bench.store, kind="a", batch="b", tags=("t", "u"))
    two = await failed(bench.store, kind="a")
    await queued(bench.store, kind="c")
    assert ids(await bench.listed("?kind=a")) == [two.id, one.id]
    assert ids(await bench.listed(f"?state={State.FAILED.value}")) == [two.id]
    assert ids(await bench.listed("?batch=b")) == [one.id]
    assert ids(await bench.listed("?tag=u")) == [one.id]
    assert ids(await bench.listed(f"?kind=a&tag=t&state={State.QUEUED.value}")) == [one.id]
    assert ids(await bench.listed("?kind=a&state=&batch=&tag=")) == [two.id, one.id]
    assert ids(await bench.listed("?kind=nobody")) == []


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("state=done", "state"),
        ("error.group=A%20B", "error.group"),
        ("error.group=1a&state=queued", "state"),
        ("since=soon", "since"),
        ("until=2026-01-02T03:04:05", "until"),
        ("page_size=-1", "page_size"),
        ("page_size=ten", "page_size"),
        ("page_size=1234567890", "page_size"),
        ("page_size=%D9%A3", "page_size"),
        ("page_size=1_0", "page_size"),
        ("page_size=+5", "page_size"),
        ("page_token=x", "page_token"),
        ("page_token=%C3%A9", "page_token"),
        ("page_token=" + "A" * 40, "page_token"),
        ("page_token=" + "A" * 22 + "!", "page_token"),
    ],
)
async def test_a_parameter_that_means_nothing_is_named(bench: Bench, query: str, name: str) -> None:
    response = await bench.get(f"/jobs?{query}")
    assert (response.status, response.json["type"]) == (422, "/problems/invalid-field")
    assert response.json["errors"][0]["pointer"] == f"?{name}"


async def test_a_job_is_shown_with_its_payload(bench: Bench) -> None:
    job = await queued(bench.store, payload=b'{"a":1.50}')
    response = await bench.get(f"/jobs/{job.id}")
    assert response.status == 200
    assert (response.json["id"], response.json["state"]) == (str(job.id), State.QUEUED.value)
    assert b'"payload":{"a":1.50}' in response.body


async def test_a_queued_job_that_nobody_serves_says_so(bench: Bench) -> None:
    job = await queued(bench.store, kind="lonely")
    assert "'lonely'" in (await bench.get(f"/jobs/{job.id}")).json["hint"]


async def test_a_running_job_whose_worker_was_lost_says_when_its_lease_ends(bench: Bench) -> None:
    job = await running(bench.store, kind="lonely")
    assert job.next_check_at is not None
    hint = (await bench.get(f"/jobs/{job.id}")).json["hint"]
    assert (
        hint == f"its worker worker-1 was lost; its lease ends at {rfc3339(job.next_check_at)}, then it is queued again"
    )


async def test_an_ended_job_has_no_hint(bench: Bench) -> None:
    assert "hint" not in (await bench.get(f"/jobs/{(await succeeded(bench.store)).id}")).json


@pytest.mark.parametrize("text", ["nonsense", "01234567-89ab-7def-8123-456789abcdef"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_job_that_is_not_there_is_not_found(bench: Bench, text: str, method: str) -> None:
    path = f"/jobs/{text}" + ("/cancel" if method == "POST" else "")
    response = await call(bench.app, method, path)
    assert (response.status, response.json["type"]) == (404, "/problems/not-found")


async def test_commands_answer_the_job_behind_them(bench: Bench) -> None:
    job = await queued(bench.store)
    response = await bench.post(f"/jobs/{job.id}/cancel")
    assert (response.status, response.json["state"], response.json["rev"]) == (200, State.CANCELLED.value, job.rev + 1)
    broken = await failed(bench.store)
    response = await bench.post(f"/jobs/{broken.id}/retry")
    assert (response.status, response.json["state"], response.json["run"]) == (200, State.QUEUED.value, 2)
    broken = await failed(bench.store)
    body = f'{{"state":"{State.SUCCEEDED.value}","result":[1]}}'.encode()
    response = await bench.post(f"/jobs/{broken.id}/resolve", body)
    assert (response.status, response.json["state"], response.json["result"]) == (200, State.SUCCEEDED.value, [1])
    response = await bench.post(f"/jobs/{(await scheduled(bench.store)).id}/run-now")
    assert (response.status, response.json["state"]) == (200, State.QUEUED.value)
    response = await bench.post(f"/jobs/{(await succeeded(bench.store)).id}/erase")
    assert (response.status, response.json["result"]) == (200, None)
    assert response.json["erased_at"] == response.json["history"][-1]["at"]
    assert response.json["history"][-1]["by"] == {"client": "local", "token_id": None, "via": "api"}


async def test_a_command_that_the_state_forbids_is_a_conflict(bench: Bench) -> None:
    response = await bench.post(f"/jobs/{(await succeeded(bench.store)).id}/retry")
    assert (response.status, response.json["type"]) == (409, "/problems/wrong-state")
    assert response.json["state"] == State.SUCCEEDED.value


async def test_a_resolve_that_is_too_large_is_refused(bench: Bench) -> None:
    job = await failed(bench.store)
    response = await bench.post(f"/jobs/{job.id}/resolve", b"x" * (2 * 2**20 + 1))
    assert (response.status, response.json["type"]) == (413, "/problems/body-too-large")


@pytest.mark.parametrize("command", ["cancel", "retry", "resolve", "run-now", "erase", "edit"])
async def test_commands_are_no_reads(bench: Bench, command: str) -> None:
    response = await bench.get(f"/jobs/{(await queued(bench.store)).id}/{command}")
    assert (response.status, response.headers["allow"]) == (405, "POST")


async def test_a_batch_is_counted(bench: Bench) -> None:
    start = bench.clock.now()
    await insert(bench.store, *(new_job(batch="b", at=start + timedelta(seconds=n)) for n in range(3)))
    response = await bench.get("/batches/b")
    assert response.json == {
        "batch": "b",
        "total": 3,
        "total_is_exact": True,
        "states": {State.QUEUED.value: 3},
        "first_at": rfc3339(start),
        "last_at": rfc3339(start + timedelta(seconds=2)),
        "duration_s": 2.0,
    }


async def test_batches_are_listed_in_pages(bench: Bench) -> None:
    start = bench.clock.now()
    for n, name in enumerate(("old", "new")):
        at = start + timedelta(seconds=n)
        await insert(bench.store, *(new_job(id=id_at(at), batch=name, at=at) for _ in range(n + 1)))
    first = (await bench.get("/batches?page_size=1")).json
    assert first["batches"] == [
        {
            "batch": "new",
            "newest_at": rfc3339(start + timedelta(seconds=1)),
            "total": 2,
            "total_is_exact": True,
            "states": {State.QUEUED.value: 2},
        }
    ]
    last = (await bench.get(f"/batches?page_size=1&page_token={first['next_page_token']}")).json
    assert ([one["batch"] for one in last["batches"]], last["next_page_token"]) == (["old"], "")


@pytest.mark.parametrize("query", ["page_size=x", "page_token=x"])
async def test_a_list_of_batches_refuses_what_it_does_not_know(bench: Bench, query: str) -> None:
    assert (await bench.get(f"/batches?{query}")).status == 422


async def test_the_states_of_a_batch_stand_in_the_order_of_a_life(bench: Bench) -> None:
    for make in (failed, succeeded, running, queued):
        await make(bench.store, batch="b")
    states = (await bench.get("/batches/b")).json["states"]
    assert list(states) == [State.QUEUED.value, State.RUNNING.value, State.SUCCEEDED.value, State.FAILED.value]


@pytest.mark.parametrize(("name", "status"), [("absent", 404), ("a" * 65, 422), ("a%20b", 422)])
async def test_a_batch_that_is_not_there(bench: Bench, name: str, status: int) -> None:
    assert (await bench.get(f"/batches/{name.replace('%20', ' ')}")).status == status


async def test_workers_that_were_seen_lately_are_listed(bench: Bench) -> None:
    now = bench.clock.now()

    def worker(name: str, seen_s: float) -> WorkerRecord:
        return WorkerRecord(
            boot=f"boot-{name}",
            name=name,
            kinds=("a", "b"),
            slots=200,
            running=3,
            finished=9,
            version="1",
            since_at=now - timedelta(hours=1),
            seen_at=now - timedelta(seconds=seen_s),
        )

    await bench.store.refresh_worker(worker("here", 1.0))
    await bench.store.refresh_worker(worker("gone", 60.0))
    response = await bench.get("/workers")
    (found,) = response.json["workers"]
    assert (found["id"], found["kinds"], found["slots"], found["running"]) == ("here", ["a", "b"], 200, 3)
    assert (found["finished"], found["version"], found["since"]) == (9, "1", rfc3339(now - timedelta(hours=1)))


@pytest.mark.parametrize(
    "target", ["/jobs", "/batches", "/batches/b", "/workers", "/jobs/01234567-89ab-7def-8123-456789abcdef"]
)
async def test_without_the_store_every_answer_says_so(bench: Bench, target: str) -> None:
    bench.store.is_away = True
    response = await bench.get(target)
    assert (response.status, response.json["type"]) == (503, "/problems/store-unreachable")


async def test_another_tenants_jobs_are_not_there(bench: Bench) -> None:
    theirs = await failed(bench.store, tenant="globex", batch="b")
    for path in (f"/jobs/{theirs.id}", "/batches/b"):
        assert (await bench.get(path)).status == 404
    for command in ("cancel", "retry", "run-now", "erase"):
        assert (await bench.post(f"/jobs/{theirs.id}/{command}")).status == 404
    resolved = await bench.post(f"/jobs/{theirs.id}/resolve", b'{"state": "succeeded"}')
    assert resolved.status == 404
    assert (await bench.listed())["jobs"] == []
    assert (await bench.get("/batches")).json == {"batches": [], "next_page_token": ""}
    assert (await bench.store.get_many([theirs.id]))[theirs.id] == theirs


@pytest.mark.parametrize(
    ("target", "verb"), [("/jobs", "list_jobs"), ("/batches", "list_batches"), ("/batches/b", "count_batch")]
)
async def test_lists_and_counts_at_once_are_bounded(bench: Bench, target: str, verb: str) -> None:
    bench.store.holds[verb] = asyncio.Event()
    held = [asyncio.create_task(bench.get(target)) for _ in range(3)]
    await bench.store.until_called(verb, 3)
    response = await bench.get(target)
    assert (response.status, response.json["type"]) == (429, "/problems/too-many-reads")
    bench.store.holds[verb].set()
    await asyncio.gather(*held)
    assert (await bench.get(target)).status in (200, 404)
    assert bench.reads.ledger.held == 0


async def test_a_large_resolve_is_read_in_another_thread(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def noting(body: bytes, **limits: Any) -> Any:
        threads.append(threading.current_thread())
        return parse_resolution(body, **limits)

    monkeypatch.setattr(commands_module, "parse_resolution", noting)
    job = await failed(bench.store)
    # An escaped colon makes a text doubtful: it is read a second time, slowly.
    doubtful = b'{"state":"succeeded","note":"\\u003a","result":[' + b",".join([b"1"] * 20_000) + b"]}"
    assert (await bench.post(f"/jobs/{job.id}/resolve", doubtful)).status == 200
    assert (await bench.post(f"/jobs/{job.id}/resolve", b'{"state":"succeeded"}')).status == 409
    assert [thread is threading.main_thread() for thread in threads] == [False, False, True]
    assert len({thread.name for thread in threads}) == 3, "what is slow has a thread of its own"


async def test_other_tasks_run_while_a_large_page_is_encoded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    turn = 0
    by_turn: Counter[int] = Counter()

    async def others() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    def noting(job: Job, **options: Any) -> Any:
        found = summary_fields(job, **options)
        by_turn[turn] += len(encode(found))
        return found

    monkeypatch.setattr(routes_module, "summary_fields", noting)
    jobs = await insert(bench.store, *(new_job(tags=("t" * 64,) * 16) for _ in range(300)))
    task = asyncio.create_task(others())
    page = await bench.listed("?page_size=300")
    task.cancel()
    assert ids(page) == [job.id for job in reversed(jobs)]
    total = sum(by_turn.values())
    assert total > 8 * SLICE_BYTES
    assert max(by_turn.values()) < SLICE_BYTES + total / 300 * 2
