"""Random handlers, killed at random points and disturbed at random: each ends as one that was left alone."""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from acked import Context, Permanent, Step, StepFailed, WaitTimedOut
from acked.durable.identity import identity_of
from acked.durable.step import Retry
from acked.testing import LongWork

NAMES = st.sampled_from(["a", "b", "c"])
LEAVES = st.one_of(
    st.tuples(st.just("step"), st.integers(0, 3)),
    st.tuples(st.just("thread"), st.integers(0, 3)),
    st.tuples(st.just("fails"), st.integers(0, 3)),
    st.tuples(st.just("sleep"), st.sampled_from([1, 5, 60, 86_400])),
    st.tuples(st.just("wait"), NAMES),
    st.tuples(st.just("first"), NAMES),
    st.tuples(st.just("note"), st.integers(-9, 9)),
)
PROGRAMS = st.lists(
    st.one_of(LEAVES, st.tuples(st.just("gather"), st.lists(LEAVES, min_size=1, max_size=3))), min_size=1, max_size=5
)
KEYS = st.one_of(st.none(), st.text(max_size=20), st.integers(-(2**63), 2**63 - 1), st.booleans())
IDENTITIES = st.tuples(NAMES, KEYS)
SIGNALS = st.lists(st.tuples(st.sampled_from(["queued", "parked"]), NAMES), max_size=4)


async def yields(rounds: int, value: Any) -> Any:
    for _ in range(rounds):
        await asyncio.sleep(0)
    return value


async def fails(rounds: int) -> None:
    await yields(rounds, None)
    raise Permanent("no", type="refused")


def call_of(ctx: Context, what: Any, key: Any) -> Any:
    """The durable call of one leaf of a program."""
    match what:
        case ("step", rounds):
            return ctx.step(Step("step", key=key), yields, rounds, key)
        case ("thread", value):
            return ctx.step(Step("thread", key=key), int, value)
        case ("fails", rounds):
            return ctx.step(Step("fails", key=key, retry=Retry(2)), fails, rounds)
        case ("sleep", seconds):
            return ctx.sleep("sleep", seconds, key=key)
        case ("wait", name):
            return ctx.wait_for(name, 3600, key=key)
        case ("first", name):
            return ctx.first("first", key=key, won=ctx.signal(name), late=ctx.timer(seconds=900))
    return ctx.note("note", what[1], key=key)


def plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return getattr(value, "id", value)


def handler_of(program: list[Any]) -> Any:
    async def work(ctx: Context, payload: object) -> list[Any]:
        found: list[Any] = []
        for n, what in enumerate(program):
            try:
                if what[0] == "gather":
                    found.append(
                        plain(await ctx.gather(*[call_of(ctx, one, f"{n}.{m}") for m, one in enumerate(what[1])]))
                    )
                else:
                    found.append(plain(await call_of(ctx, what, n)))
            except (StepFailed, WaitTimedOut) as error:
                found.append(f"{type(error).__name__} {error}")
        return found

    return work


async def played(program: list[Any], signals: list[tuple[str, str]], kills: list[int]) -> tuple[Any, LongWork]:
    async with LongWork(handler_of(program), kills=kills) as job:
        for n, (when, name) in enumerate(signals):
            if when == "queued":
                job.send(name, n, id=f"s{n}")
        await job.until_parked()
        for n, (when, name) in enumerate(signals):
            if when == "parked" and not job.has_ended:
                await job.signal(name, n, id=f"s{n}")
        for _ in range(30):
            await job.advance(hours=12)
        return job.result, job


@settings(max_examples=40, deadline=None)
@given(PROGRAMS, SIGNALS, st.lists(st.integers(1, 60), max_size=4, unique=True))
async def test_a_killed_job_ends_as_one_that_was_left_alone(
    program: list[Any], signals: list[tuple[str, str]], kills: list[int]
) -> None:
    expected, alone = await played(program, signals, [])
    result, job = await played(program, signals, kills)
    assert result == expected
    # Beside a kept failure, a member of a gather that was not kept yet does not run again.
    assert set(job.steps) <= set(alone.steps)
    if "fails" not in str(program):
        assert sorted(job.steps) == sorted(alone.steps)
    assert all(count <= 1 + len(kills) for count in job.world.effects.values())
    assert max(alone.world.effects.values(), default=1) == 1
    assert job.failures == 0


@settings(max_examples=200)
@given(IDENTITIES, IDENTITIES)
def test_identities_are_equal_only_if_name_and_key_are(one: Any, other: Any) -> None:
    def same(a: Any, b: Any) -> bool:
        return type(a) is type(b) and a == b

    ours, theirs = identity_of(*one), identity_of(*other)
    assert (ours.digest == theirs.digest) == (same(one[0], other[0]) and same(one[1], other[1]))
    assert len({ours.digest, ours.part("#", 1), ours.part("#", 2), ours.part("@", 1), ours.part("!", 1)}) == 5
