"""Limits on running jobs, on running processes: of a kind and of each tenant, set and changed while jobs run."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from acked_common.model.lifecycle import Reason, State
from support.access import Client, make_token
from support.contract import instant
from support.nonce import nonce
from support.stacks import StartStack, TestStack, eventually

NONCE = nonce()
SCALE = {"worker": 2}
KIND, OTHER = "test.export", "test.echo"
YEAR_S = 365 * 86_400
LEARNED_S = 2.0
LONG = 320
WHY = f"the provider allows six calls {NONCE}"


@pytest.fixture(scope="module")
def stack(start_stack: StartStack) -> TestStack:
    return start_stack({"ACKED_ACCESS": "tokens", "ACKED_DRAIN_S": "1"}, SCALE)


@pytest.fixture(scope="module")
def operator(stack: TestStack) -> Client:
    return Client(stack, make_token(stack, "submit", "read", "operate", tenant="default", client="ada"))


@pytest.fixture(scope="module")
def of_tenant(stack: TestStack) -> dict[str, Client]:
    may = ("submit", "read", "operate", "signal")
    return {name: Client(stack, make_token(stack, *may, tenant=name, client=name)) for name in ("a", "b")}


class Runs:
    """What the handlers wrote in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()
        (folder / "runs").touch()
        self.killed_at: dict[int, float] = {}
        """When a process was killed, by its id: its runs ended then."""

    def lines(self) -> list[tuple[str, str, str, int, float]]:
        found = (line.split() for line in (self.folder / "runs").read_text().splitlines())
        return [(what, tenant, job, int(pid), float(at)) for what, tenant, job, pid, at in found]

    def most_at_once(self, tenant: str | None = None, *, since: float = 0.0) -> int:
        """The greatest number of handlers that ran at one moment since then."""
        edges: list[tuple[float, int]] = []
        open_: dict[tuple[str, int], float] = {}
        for what, by, job, pid, at in self.lines():
            if tenant not in (None, by):
                continue
            edges.append((at, 1 if what == "begin" else -1))
            if what == "begin":
                open_[job, pid] = at
            else:
                open_.pop((job, pid))
        edges += [(self.killed_at[pid], -1) for _, pid in open_ if pid in self.killed_at]
        now = most = 0
        # At one instant, ends come first: a place is taken after it was freed.
        for at, change in sorted(edges):
            now += change
            most = max(most, now) if at >= since else most
        return most

    def begun(self, tenant: str) -> set[str]:
        return {job for what, by, job, _, _ in self.lines() if (what, by) == ("begin", tenant)}


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "runs")


def submit(of: dict[str, Client], tenant: str, runs: Runs, seconds: float, **more: Any) -> str:
    payload = {"tenant": tenant, "folder": str(runs.folder), "seconds": seconds, "nonce": NONCE, **more}
    return of[tenant].process(KIND, payload=payload, timeout_s=YEAR_S * 1.0)


def many(of: dict[str, Client], tenant: str, runs: Runs, count: int, seconds: float) -> list[str]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda _: submit(of, tenant, runs, seconds), range(count)))


def limit(operator: Client, **numbers: Any) -> Any:
    response = operator.call("POST", f"/kinds/{KIND}/limit", numbers)
    assert response.status == 200, response.raw
    return response.body["limit"]


def use(operator: Client) -> Any:
    response = operator.call("GET", f"/kinds/{KIND}")
    assert response.status == 200, response.raw
    return response.body["limit_use"]


def status(client: Client, job_id: str, query: str = "", to: str = "gateway") -> Any:
    response = client.call("GET", f"/status/{job_id}{query}", to=to)
    assert response.status == 200, response.raw
    return response.body


def cancel_all(client: Client, ids: list[str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda job_id: client.call("POST", f"/jobs/{job_id}/cancel"), ids))


@pytest.fixture(autouse=True)
def unlimited(operator: Client) -> Iterator[None]:
    """Leave no limit behind."""
    yield
    assert operator.call("POST", f"/kinds/{KIND}/unlimit").status == 200


def test_year_long_jobs_of_one_tenant_leave_the_others_share_free(
    stack: TestStack, operator: Client, of_tenant: dict[str, Client], runs: Runs
) -> None:
    limited = limit(operator, per_tenant=5, reason=WHY)
    assert (limited["running"], limited["per_tenant"], limited["client"], limited["reason"]) == (None, 5, "ada", WHY)
    time_to_learn(operator)
    ids = many(of_tenant, "a", runs, LONG, YEAR_S)
    eventually(lambda: use(operator) == {"running": 5, "held": LONG - 5}, within_s=60, what="315 wait for a place")

    # The share of another tenant is free, and jobs beyond the limit occupy no slot.
    for service in ("gateway", "intake"):
        held = next(i for i in reversed(ids) if i not in runs.begun("a"))
        found = status(of_tenant["a"], held, to=service)
        assert found["state"] == State.QUEUED
        assert found["hint"].startswith("limited: 5 of 5 running jobs of its tenant"), found["hint"]
    before = time.monotonic()
    short = many(of_tenant, "b", runs, 20, 0.05)
    for job_id in short:
        found = status(of_tenant["b"], job_id, "?wait_s=30")
        assert (found["state"], found["attempt"]) == (State.SUCCEEDED, 1)
    took_s = time.monotonic() - before
    waits = [begun_after_s(of_tenant["b"], job_id) for job_id in short[:5]]
    assert max(waits) < 1.0, f"the first five started after {waits}"
    assert took_s < 30
    echoed = operator.process(OTHER, payload={"nonce": NONCE})
    assert status(operator, echoed, "?wait_s=20")["state"] == State.SUCCEEDED
    workers = operator.call("GET", "/workers").body["workers"]
    # Their documents are up to two seconds old, so they may still show jobs of both tenants.
    assert sum(worker["running"] for worker in workers) <= 12, workers
    assert (runs.most_at_once("a"), runs.most_at_once("b") <= 5) == (5, True)

    # A freed place is used within a second, by the oldest.
    for _ in range(3):
        ended = next(job for job in runs.begun("a") if status(of_tenant["a"], job)["state"] == State.RUNNING)
        known = runs.begun("a")
        of_tenant["a"].call("POST", f"/jobs/{ended}/cancel")
        (fresh,) = eventually(lambda known=known: runs.begun("a") - known, within_s=10, what="another one starts")
        ended_at = instant(status(of_tenant["a"], ended, "?wait_s=10")["finished_at"])
        assert instant(claimed(of_tenant["a"], fresh)["at"]) - ended_at < timedelta(seconds=1.0)
    assert runs.most_at_once("a") == 5

    # The metrics of each gateway say so.
    labels = f'{{kind="{KIND}",of="tenant"}}'
    text = operator.call("GET", "/metrics").raw.decode()
    assert f"acked_kind_limit{labels} 5.0" in text
    held_now = LONG - 5 - 3
    eventually(
        lambda: f'acked_kind_held_jobs{{kind="{KIND}"}} {held_now}.0' in operator.call("GET", "/metrics").raw.decode(),
        within_s=10,
        what=f"{held_now} held jobs in the metrics",
    )
    cancel_all(of_tenant["a"], ids)
    eventually(lambda: use(operator) == {"running": 0, "held": 0}, within_s=60, what="all are cancelled")


@pytest.mark.long
def test_a_limit_holds_under_kills_drains_retries_and_changes(
    stack: TestStack, operator: Client, of_tenant: dict[str, Client], runs: Runs
) -> None:
    limit(operator, running=6, per_tenant=4)
    time_to_learn(operator)
    ids = {"a": many(of_tenant, "a", runs, 40, 0.4), "b": many(of_tenant, "b", runs, 40, 0.4)}
    ids["a"] += [submit(of_tenant, "a", runs, 0.1, fails=True) for _ in range(5)]
    eventually(lambda: len(runs.begun("a") | runs.begun("b")) > 10, within_s=30, what="some have begun")
    pid = stack.stack.parts.pid("worker-1")
    os.kill(pid, signal.SIGKILL)
    runs.killed_at[pid] = time.monotonic()
    eventually(lambda: stack.stack.parts.readiness("worker-1") in ("ready", "degraded"), within_s=60, what="it is back")
    workers = operator.call("GET", "/workers").body["workers"]
    one = next(worker for worker in workers if worker["id"] == "worker-2")
    assert operator.call("POST", f"/workers/{one['instance']}/drain").status in (200, 202)
    lowered = limit(operator, running=2)
    assert lowered["per_tenant"] is None, "a limit is replaced as a whole"
    # Nothing is stopped, and nothing starts until fewer run.
    eventually(lambda: use(operator)["running"] <= 2, within_s=60, what="what ran has ended")
    calm_at = time.monotonic()
    check_all(of_tenant, ids | {"b": [*ids["b"], *many(of_tenant, "b", runs, 10, 0.2)]})
    assert runs.most_at_once(since=calm_at) == 2
    assert runs.most_at_once() <= 6
    assert max(runs.most_at_once("a"), runs.most_at_once("b")) <= 4
    limit(operator, running=5)
    raised_at = time.monotonic()
    check_all(of_tenant, {"b": many(of_tenant, "b", runs, 30, 0.5)})
    assert runs.most_at_once(since=raised_at) == 5
    eventually(lambda: use(operator) == {"running": 0, "held": 0}, within_s=30, what="none is counted any more")


def check_all(of: dict[str, Client], ids: dict[str, list[str]]) -> None:
    """Wait until all these jobs have succeeded."""
    for tenant, jobs in ids.items():
        for job_id in jobs:
            eventually(partial(has_succeeded, of[tenant], job_id), within_s=90, what=f"job {job_id} has ended")


def has_succeeded(client: Client, job_id: str) -> bool:
    found = status(client, job_id, "?wait_s=30")
    assert found["finished_at"] is None or found["state"] == State.SUCCEEDED, found
    return found["finished_at"] is not None


def test_jobs_that_run_already_count_and_a_removed_limit_lets_all_start(
    operator: Client, of_tenant: dict[str, Client], runs: Runs
) -> None:
    before = many(of_tenant, "b", runs, 4, YEAR_S)
    eventually(lambda: runs.begun("b") == set(before), within_s=20, what="all run without a limit")
    limit(operator, running=3)
    eventually(lambda: (use(operator) or {}).get("running") == 4, within_s=30, what="they count")
    time_to_learn(operator)
    later = many(of_tenant, "b", runs, 6, YEAR_S)
    eventually(lambda: use(operator) == {"running": 4, "held": 6}, within_s=20, what="none starts")
    of_tenant["b"].call("POST", f"/jobs/{before[0]}/cancel")
    eventually(lambda: use(operator)["running"] == 3, within_s=30, what="one has ended")
    hint = status(of_tenant["b"], later[0])["hint"]
    assert hint.startswith("limited: all 3 places of its kind are taken"), hint
    assert runs.begun("b") == set(before)
    of_tenant["b"].call("POST", f"/jobs/{before[1]}/cancel")
    eventually(lambda: len(runs.begun("b")) == 5, within_s=10, what="one place is free")
    response = operator.call("POST", f"/kinds/{KIND}/unlimit")
    assert (response.status, response.body["limit"]) == (200, None)
    eventually(lambda: runs.begun("b") == {*before, *later}, within_s=10, what="the rest starts")
    cancel_all(of_tenant["b"], [*before, *later])
    for job_id in (*before, *later):
        assert status(of_tenant["b"], job_id, "?wait_s=20")["state"] == State.CANCELLED


def test_a_parked_job_has_no_place_and_needs_one_when_it_resumes(
    operator: Client, of_tenant: dict[str, Client], runs: Runs
) -> None:
    limit(operator, running=1)
    time_to_learn(operator)
    parked = submit(of_tenant, "a", runs, 0.05, awaits="go")
    eventually(lambda: Reason.PARKED in reasons(of_tenant["a"], parked), within_s=20, what="it has parked")
    long = submit(of_tenant, "a", runs, YEAR_S)
    eventually(lambda: long in runs.begun("a"), within_s=10, what="the place was free")
    sent = of_tenant["a"].call("POST", f"/jobs/{parked}/signals/go", True)
    assert sent.status in (200, 202), sent.raw
    eventually(lambda: use(operator) == {"running": 1, "held": 1}, within_s=20, what="it waits for a place")
    of_tenant["a"].call("POST", f"/jobs/{long}/cancel")
    assert status(of_tenant["a"], parked, "?wait_s=20")["state"] == State.SUCCEEDED
    assert runs.most_at_once() == 1


def test_who_limited_stands_in_the_audit_with_before_and_after(operator: Client) -> None:
    limit(operator, running=20, per_tenant=5, reason=WHY)
    limit(operator, running=10)
    assert operator.call("POST", f"/kinds/{KIND}/unlimit").body["limit"] is None
    entries = operator.call("GET", "/audit?page_size=3").body["entries"]
    assert [(e["action"], e["client"], e["target"], e.get("reason")) for e in entries] == [
        ("unlimit", "ada", {"kind": KIND, "before": {"running": 10}, "after": None}, None),
        ("limit", "ada", {"kind": KIND, "before": {"running": 20, "per_tenant": 5}, "after": {"running": 10}}, None),
        ("limit", "ada", {"kind": KIND, "before": None, "after": {"running": 20, "per_tenant": 5}}, WHY),
    ]


def time_to_learn(operator: Client) -> None:
    """Wait until the workers have read that the kind has a limit."""
    end = time.monotonic() + LEARNED_S
    eventually(lambda: time.monotonic() > end, within_s=LEARNED_S + 1, what="workers read limits every second")


def reasons(client: Client, job_id: str) -> Counter[str]:
    return Counter(line["reason"] for line in status(client, job_id)["history"])


def claimed(client: Client, job_id: str) -> Any:
    """The newest claim of a job."""
    return [line for line in status(client, job_id)["history"] if line["reason"] == Reason.CLAIMED][-1]


def begun_after_s(client: Client, job_id: str) -> float:
    history = status(client, job_id)["history"]
    return (instant(claimed(client, job_id)["at"]) - instant(history[0]["at"])).total_seconds()
