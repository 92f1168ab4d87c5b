"""Which code of a handler file runs at each park, and is warned of."""

from textwrap import dedent, indent

import pytest

from acked_worker.handlers.park_hazards import IN_EXCEPT, IN_FINALLY, park_hazards

HEAD = """from acked import Context, Retry, Step, handler

CHARGE = Step("charge", retry=Retry(5))
FIND = Step("find")

"""


def found(body: str, *, head: str = '@handler("order")\nasync def order(ctx, payload):\n') -> list[tuple[str, str]]:
    """The places of a handler with this body: the source of each line, and what is said of it."""
    source = HEAD + head + indent(dedent(body).strip(), "    ") + "\n"
    lines = source.splitlines()
    return [(lines[hazard.line - 1].strip(), hazard.text) for hazard in park_hazards(source)]


def guarded(wait: str, cleanup: str, *, keyword: str = "finally:") -> str:
    return f"try:\n    {wait}\n{keyword}\n    {cleanup}"


WAITING = [
    "await ctx.sleep('cool-off', days=30)",
    "paid = await ctx.wait_for('paid')",
    "won, got = await ctx.first('race', paid=ctx.signal('paid'), late=ctx.timer(days=1))",
    "await ctx.gather(*calls)",
    "ctx.deferred.sleep('x', 60)",
    "await ctx.step(Step('pay', retry=Retry(3)), pay)",
    "await ctx.step(CHARGE, pay)",
    "await asyncio.gather(ctx.sleep('a', 60), other())",
]
EFFECTS = [
    "await close()",
    "close()",
    "ctx.log.info('ended')",
    "await ctx.step('x', f); close()",
    "STATE['busy'] = False",
    "job.busy = False",
    "del STATE['busy']",
    "return {}",
]


@pytest.mark.parametrize("wait", WAITING)
def test_finally_around_a_wait_is_warned_of(wait: str) -> None:
    assert found(guarded(wait, "await close()")) == [("finally:", IN_FINALLY)]


@pytest.mark.parametrize("effect", EFFECTS)
def test_finally_with_an_effect_is_warned_of(effect: str) -> None:
    assert found(guarded(WAITING[0], effect)) == [("finally:", IN_FINALLY)]


@pytest.mark.parametrize(
    "harmless", ["pass", "done = True", "count += 1", "await ctx.step('close', close)", "def later(): close()"]
)
def test_finally_without_an_effect_is_fine(harmless: str) -> None:
    """A step in `finally` runs only at the real end."""
    assert found(guarded(WAITING[0], harmless)) == []


@pytest.mark.parametrize("call", ["await fetch()", "await ctx.step('a', fetch)", "await ctx.step(FIND, fetch)"])
def test_finally_around_what_never_parks_is_fine(call: str) -> None:
    assert found(guarded(call, "await close()") + f"\n{WAITING[0]}") == []


def test_handler_without_waits_is_fine() -> None:
    assert found(guarded("await ctx.step('a', fetch)", "await close()")) == []
    assert found(guarded("await ctx.step('a', fetch)", "pass", keyword="except:")) == []


@pytest.mark.parametrize(
    "clause",
    [
        "except:",
        "except BaseException:",
        "except BaseException as error:",
        "except builtins.BaseException:",
        "except (ValueError, BaseException):",
        "except acked.AttemptParked:",
    ],
)
@pytest.mark.parametrize("call", [WAITING[0], "await ctx.step('a', fetch)", "await ctx.now('begun')"])
def test_broad_except_around_a_durable_call_is_warned_of(clause: str, call: str) -> None:
    assert found(guarded(call, "pass", keyword=clause) + f"\n{WAITING[1]}") == [(clause, IN_EXCEPT)]


@pytest.mark.parametrize(
    "clause", ["except Exception:", "except (ValueError, OSError):", "except asyncio.TimeoutError:"]
)
def test_narrow_except_is_fine(clause: str) -> None:
    assert found(guarded(WAITING[0], "await close()", keyword=clause)) == []


def test_except_that_only_raises_again_is_fine() -> None:
    assert found(guarded(WAITING[0], "raise", keyword="except:")) == []
    assert found(guarded(WAITING[0], "close()\n    raise", keyword="except:")) == [("except:", IN_EXCEPT)]


@pytest.mark.parametrize(
    "accepted",
    [
        "finally:  # acked: runs at each park\n    close()",
        "finally:\n    # ACKED:  runs at each park, which is meant\n    close()",
        "finally:\n    close()  # acked: runs at each park",
        "except:  # acked: runs at each park\n    pass",
    ],
)
def test_a_comment_accepts_one_place(accepted: str) -> None:
    body = f"try:\n    {WAITING[0]}\n{accepted}"
    assert found(body) == []
    assert found(f"{body}\n{guarded(WAITING[1], 'close()')}") == [("finally:", IN_FINALLY)]


def test_text_that_looks_like_the_comment_accepts_nothing() -> None:
    body = guarded(WAITING[0], "print('# acked: runs at each park')")
    assert found(body) == [("finally:", IN_FINALLY)]


def test_one_line_for_each_place_in_order() -> None:
    inner = indent(guarded(WAITING[1], "raise KeyError", keyword="except:"), "    ")
    body = f"try:\n{inner}\nfinally:\n    close()\n{guarded(WAITING[2], 'close()')}"
    assert found(body) == [("except:", IN_EXCEPT), ("finally:", IN_FINALLY), ("finally:", IN_FINALLY)]


@pytest.mark.parametrize(
    "head",
    [
        '@acked.handler("order")\nasync def order(c, payload):\n',
        '@handler("order", timeout_s=3)\ndef order(c, payload):\n',
        "async def remind(order, c: Context):\n",
        "def remind(*, c: acked.BlockingContext):\n",
        'async def remind(c: "Context") -> None:\n',
        "class Order:\n  async def remind(self, c: Context):\n",
    ],
)
def test_contexts_are_known_by_decorator_or_annotation(head: str) -> None:
    assert found("try:\n    c.sleep('a', 60)\nfinally:\n    close()", head=head) == [("finally:", IN_FINALLY)]
    assert found("try:\n    time.sleep(60)\nfinally:\n    close()", head=head) == []


def test_renamed_decorator_is_known() -> None:
    head = 'from acked import handler as kind\n@kind("order")\nasync def order(c, payload):\n'
    assert found("try:\n    await c.sleep('a', 60)\nfinally:\n    close()", head=head) == [("finally:", IN_FINALLY)]


def test_functions_of_the_file_that_wait_are_known() -> None:
    head = (
        "async def deep(c: Context):\n    await c.sleep('a', 60)\n\n"
        "async def between(c: Context):\n    await deep(c)\n\n"
        "async def quick(c: Context):\n    await c.step('b', fetch)\n\n"
        '@handler("order")\nasync def order(ctx, payload):\n'
    )
    assert found(guarded("await between(ctx)", "close()"), head=head) == [("finally:", IN_FINALLY)]
    assert found(guarded("await quick(ctx)", "close()"), head=head) == []


def test_step_with_a_context_is_fine() -> None:
    """A step never parks, and its own `finally` runs with it."""
    head = "async def scan(ctx: Context, pages):\n"
    assert found(guarded("await ctx.checkpoint(1)", "close()"), head=head) == []


def test_text_that_is_no_python_is_refused() -> None:
    for source in ("def (", "x = '\x00'"):
        with pytest.raises((SyntaxError, ValueError)):
            park_hazards(source)
