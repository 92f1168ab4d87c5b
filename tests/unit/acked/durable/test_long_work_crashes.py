"""The crash test kit: handlers that survive every kill, and handlers of which it says why they do not."""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from acked import BlockingContext, Context, KindOptions, Retry, Step
from acked.registration import registry
from acked.testing import (
    CrashOptions,
    CrashTestFailed,
    Event,
    KitPlan,
    KitPlanError,
    LongWork,
    survives_every_crash,
)
from acked.testing.__main__ import main
from acked.testing.long_work import kind_of
from acked.testing.plan import plan_of, read_plan

PLAN = [Event(days=30), Event(signal="paid", value=100)]


async def renewal(ctx: Context, payload: dict[str, Any]) -> dict[str, Any]:
    quote, hold = await ctx.gather(ctx.step("quote", lambda: 40), ctx.step("hold", asyncio.sleep, 0, "held"))
    await ctx.sleep("cool-off", days=30)
    paid = await ctx.wait_for("paid", 86_400)
    for n in range(2):
        await ctx.step(Step("mail", key=n), lambda: None)
    return {"quote": quote, "hold": hold, "paid": paid.value}


def blocking_renewal(ctx: BlockingContext, payload: dict[str, Any]) -> dict[str, Any]:
    quote = ctx.step("quote", lambda: 40)
    ctx.sleep("cool-off", days=30)
    return {"quote": quote, "paid": ctx.wait_for("paid", 86_400).value}


async def test_a_handler_survives_two_kills_at_every_point() -> None:
    report = await survives_every_crash(renewal, {"id": 7}, PLAN, CrashOptions(most_lives=300))
    assert report.outcome.result == {"quote": 40, "hold": "held", "paid": 100}
    assert max(report.effects.values()) <= 3
    names = {point.name for point in report.points}
    assert {"before step quote", "recording step quote", "recorded step quote", "opening", "parking", "ending"} <= names
    assert (report.lives, report.problems) == (300, [])
    assert "before sleep cool-off" in report.table()


async def test_all_pairs_of_kills_are_tried() -> None:
    async def work(ctx: Context, payload: object) -> int:
        n = await ctx.step("n", lambda: 1)
        await ctx.sleep("pause", days=1)
        return n

    report = await survives_every_crash(work, None, [Event(days=1)])
    assert (report.left_out, report.problems) == (0, [])
    assert report.lives > 150


async def test_a_plain_handler_survives_every_kill() -> None:
    report = await survives_every_crash(blocking_renewal, {"id": 7}, PLAN, CrashOptions(kills=1))
    assert report.outcome.result == {"quote": 40, "paid": 100}


async def test_a_handler_that_never_parks_works_too() -> None:
    async def work(ctx: Context, payload: int) -> int:
        return payload + 1

    report = await survives_every_crash(work, 3)
    assert (report.outcome.result, [point.name for point in report.points]) == (4, ["ending"])


async def test_pairs_beyond_the_limit_are_counted() -> None:
    report = await survives_every_crash(renewal, None, PLAN, CrashOptions(most_lives=60))
    assert report.lives == 60
    assert report.left_out > 100
    assert "left out" in report.table()


async def test_a_race_that_nobody_keeps_is_found() -> None:
    async def work(ctx: Context, payload: object) -> list[str]:
        order: list[str] = []

        async def side(name: str) -> None:
            # On the loop, where "a" is always first; plain functions run in threads, whose race anyone may win.
            await ctx.step(name, asyncio.sleep, 0)
            order.append(name)

        await asyncio.gather(side("a"), side("b"))
        return order if ctx.attempt == 1 else order[::-1]

    with pytest.raises(CrashTestFailed, match="killed before step a"):
        await survives_every_crash(work, options=CrashOptions(kills=1))


async def test_a_step_that_runs_too_often_is_found() -> None:
    async def work(ctx: Context, payload: object) -> None:
        # The key differs from attempt to attempt, so nothing that is kept is found again.
        await ctx.step(Step("once", key=ctx.attempt), lambda: None)
        await ctx.step("done", lambda: None)
        if ctx.attempt > 1:
            await ctx.step("more", lambda: None)

    report = await survives_every_crash(work, options=CrashOptions(kills=1))
    assert report.effects["once[1]"] == 1

    async def random(ctx: Context, payload: object) -> int:
        return ctx.attempt

    with pytest.raises(CrashTestFailed, match="succeeded with 2"):
        await survives_every_crash(random, options=CrashOptions(kills=1))
    await survives_every_crash(random, options=CrashOptions(kills=1, same=lambda one, other: True))


async def test_a_plan_that_ends_too_early_is_refused() -> None:
    with pytest.raises(CrashTestFailed, match="the plan ends while the job is waiting, for sleep 'cool-off'"):
        await survives_every_crash(renewal)


async def test_a_file_that_is_written_outside_a_step_is_found(tmp_path: Path) -> None:
    async def outside(ctx: Context, payload: object) -> None:
        (tmp_path / "out").write_text("x")
        await ctx.step("pause", lambda: None)

    async def inside(ctx: Context, payload: object) -> None:
        await ctx.step("write", (tmp_path / "out").write_text, "x")
        (tmp_path / "out").read_text()

    with pytest.raises(CrashTestFailed, match=r"out for writing, at .*test_long_work_crashes\.py:\d+"):
        await survives_every_crash(outside)
    await survives_every_crash(outside, options=CrashOptions(allow_outside=True))
    assert (await survives_every_crash(inside)).outside == []


async def test_a_socket_and_a_process_outside_a_step_are_found() -> None:
    server = socket.create_server(("127.0.0.1", 0))

    def connect() -> None:
        socket.create_connection(server.getsockname()).close()

    def start() -> None:
        subprocess.run([sys.executable, "-c", ""], check=True)

    async def work(ctx: Context, payload: object) -> None:
        await asyncio.to_thread(connect)
        start()

    def steps(ctx: BlockingContext, payload: object) -> None:
        ctx.step("connect", connect)
        ctx.step("start", start)

    with server:
        with pytest.raises(CrashTestFailed) as failed:
            await survives_every_crash(work, options=CrashOptions(kills=1))
        assert "connects to ('127.0.0.1'" in str(failed.value)
        assert "starts a process" in str(failed.value)
        assert (await survives_every_crash(steps, options=CrashOptions(kills=1))).outside == []


async def test_retries_survive_too() -> None:
    tries: list[int] = []

    def flaky() -> int:
        tries.append(1)
        if len(tries) % 3:
            raise OSError("down")
        return 1

    async def work(ctx: Context, payload: object) -> int:
        return await ctx.step(Step("call", retry=Retry(9, base_s=50)), flaky)

    report = await survives_every_crash(work, plan=[Event(hours=9)] * 9)
    assert report.outcome.result == 1


async def test_signals_at_the_start_and_behind_a_step() -> None:
    async def work(ctx: Context, payload: object) -> list[Any]:
        first = await ctx.wait_for("early")
        await ctx.step("middle", lambda: None)
        return [first.value, (await ctx.wait_for("late")).value]

    plan = [Event(signal="early", value=1, after="start"), Event(signal="late", value=2, after="middle")]
    report = await survives_every_crash(work, plan=plan)
    assert report.outcome.result == [1, 2]


async def test_a_handler_that_fails_fails_the_same_way() -> None:
    async def work(ctx: Context, payload: object) -> None:
        await ctx.step("first", lambda: None)
        raise ValueError("always")

    report = await survives_every_crash(work, options=CrashOptions(kills=1, kind=KindOptions(max_attempts=2)))
    assert str(report.outcome) == "failed with ValueError: always"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"payload": 1, "evnts": []}', "evnts"),
        ('{"events": [{"signal": "a", "wen": "start"}]}', "wen"),
        ('{"events": [{"signal": "a", "days": 1}]}', "either a signal or a move"),
        ('{"events": [{}]}', "either a signal or a move"),
        ('{"events": [{"days": 1, "id": "x"}]}', "belong to a signal"),
        ('{"events": [{"days": "x"}]}', "days"),
        ("[]", "object"),
        ("{", "truncated"),
    ],
)
def test_a_plan_with_unknown_fields_is_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(KitPlanError, match=why):
        read_plan(path)


def test_a_plan_is_read(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text('{"payload": {"id": 7}, "events": [{"days": 30}, {"signal": "paid", "value": 100}]}')
    plan = read_plan(path)
    assert plan == KitPlan({"id": 7}, tuple(PLAN))
    assert plan_of(None, plan) == plan
    assert plan_of(8, plan).payload == 8
    with pytest.raises(KitPlanError, match="list of Event"):
        plan_of(None, [{"days": 30}])  # type: ignore[list-item]
    with pytest.raises(KitPlanError, match="can't be read"):
        read_plan(tmp_path / "missing.json")


HANDLER = """
from pathlib import Path
from acked import Context, handler

@handler("renewal", version="3")
async def renew(ctx: Context, payload: dict) -> dict:
    quote = await ctx.step("quote", lambda: 40)
    await ctx.sleep("cool-off", days=30)
    paid = await ctx.wait_for("paid")
    return {"quote": quote, "paid": paid.value, "with": await ctx.began_with()}

@handler("leaky")
async def leaky(ctx: Context, payload: dict) -> None:
    Path("leak").write_text("x")
    await ctx.step("quote", lambda: 40)
"""


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "acked.testing", *words], cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_command_prints_a_table(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(HANDLER)
    plan = {"payload": {}, "events": [{"days": 30}, {"signal": "paid", "value": 5}]}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    for name in ("renew", "renewal"):
        done = command(tmp_path, f"mine.py::{name}", "--plan", "plan.json", "--kills", "1")
        assert (done.returncode, done.stderr) == (0, "")
        assert "recording step quote" in done.stdout
        assert "without a kill: succeeded with {'quote': 40, 'paid': 5, 'with': '3'}" in done.stdout
    done = command(tmp_path, "mine.py::leaky")
    assert done.returncode == 1
    assert "opens leak for writing" in done.stdout


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["mine.py::other"], "it has leaky, renew, renewal"),
        (["mine.py"], "write FILE::HANDLER"),
        (["none.py::x"], "none.py does not exist"),
        (["mine.py::renewal", "--plan", "none.json"], "can't be read"),
    ],
)
def test_the_command_says_what_it_needs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    why: str,
) -> None:
    (tmp_path / "mine.py").write_text(HANDLER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = registry.snapshot()
    try:
        assert main(words) == 2
    finally:
        registry.restore(before)
    assert why in capsys.readouterr().err


async def test_two_jobs_at_once_do_not_mix() -> None:
    async def one(n: int) -> Any:
        async with LongWork(renewal, {"id": n}, kills=[n]) as job:
            await job.until_parked()
            await job.advance(days=30)
            await job.signal("paid", n)
            return job.result["paid"]

    factory = asyncio.get_running_loop().get_task_factory()
    assert await asyncio.gather(*map(one, range(1, 20))) == list(range(1, 20))
    assert asyncio.get_running_loop().get_task_factory() is factory


async def test_a_test_leaves_no_task_behind() -> None:
    before = asyncio.all_tasks()

    async def heartbeat() -> None:
        await asyncio.get_running_loop().create_future()

    async def work(ctx: Context, payload: object) -> None:
        task = asyncio.create_task(heartbeat())
        await ctx.sleep("pause", days=1)
        task.cancel()

    for kills in ((), (2,), (3, 6)):
        async with LongWork(work, kills=kills) as job:
            await job.until_parked()
        assert asyncio.all_tasks() == before


async def test_long_work_is_used_as_a_context_manager() -> None:
    job = LongWork(renewal)
    with pytest.raises(RuntimeError, match="async with LongWork"):
        await job.until_parked()


def test_handlers_are_found_as_they_are_registered() -> None:
    name, kind = next(iter(registry.items()), (None, None))
    if kind is not None:
        assert kind_of(kind.function).name == name
    unregistered: Callable[[Any, Any], Any] = renewal
    assert kind_of(unregistered).options == KindOptions()
