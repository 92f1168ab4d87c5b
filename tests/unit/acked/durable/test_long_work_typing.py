"""A type checker in strict mode knows what a durable call returns, from the function that it runs."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]

HANDLER = """
from datetime import datetime
from acked import BlockingContext, Context, DurableCall, ReceivedSignal, Step, handler

def price(amount: int, *, currency: str = "EUR") -> float: return 1.0
async def fetch(id: int) -> list[str]: return []

@handler("renewal")
async def renewal(ctx: Context, payload: dict[str, int]) -> None:
    reveal_type(await ctx.step("quote", price, 7, currency="USD"))  # float
    reveal_type(await ctx.step(Step("fetch", key=7), fetch, 7))  # list[str]
    reveal_type(ctx.step("quote2", price, 7))  # DurableCall[float]
    reveal_type(await ctx.step("lambda", lambda: 7))  # int
    reveal_type(await ctx.gather(ctx.step("a", price, 1), ctx.step("b", fetch, 1)))  # tuple[float, list[str]]
    reveal_type(await ctx.gather(*[ctx.step(Step("c", key=n), fetch, n) for n in range(3)]))  # tuple[list[str], ...]
    reveal_type(await ctx.wait_for("paid"))  # ReceivedSignal
    reveal_type(await ctx.first("x", a=ctx.signal("a"), b=ctx.timer(days=1)))  # tuple[str, ReceivedSignal | None]
    reveal_type(await ctx.now("then"))  # datetime
    reveal_type(await ctx.note("choice", "a"))  # str
    reveal_type(await ctx.began_with())  # str
    await ctx.step("wrong", price, "seven")  # error
    await ctx.step("wrong2", fetch)  # error
    await ctx.step("wrong3", price, 7, money="USD")  # error

@handler("plain")
def plain(ctx: BlockingContext, payload: dict[str, int]) -> None:
    reveal_type(ctx.step("quote", price, 7))  # float
    reveal_type(ctx.step("fetch", fetch, 7))  # list[str]
    calls = ctx.deferred
    reveal_type(ctx.gather(calls.step("a", price, 1), calls.step("b", fetch, 1)))  # tuple[float, list[str]]
    reveal_type(ctx.wait_for("paid", 60))  # ReceivedSignal
    ctx.sleep("pause", days=1)
    ctx.step("wrong", price, "seven")  # error
"""


def plain_name(text: str) -> str:
    """A revealed type without the names of modules, in today's notation."""
    short = re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", text)
    return re.sub(r"Union\[(.*), None\]", r"\1 | None", short).replace(
        "Optional[ReceivedSignal]", "ReceivedSignal | None"
    )


def test_a_step_has_the_type_of_its_function(tmp_path: Path) -> None:
    module = tmp_path / "mine.py"
    module.write_text(HANDLER)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", str(module)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    said: dict[int, str] = {}
    for number, kind, text in re.findall(r"mine\.py:(\d+): (error|note): (.*)", done.stdout):
        revealed = re.fullmatch(r'Revealed type is "(.*)"', text)
        said.setdefault(int(number), plain_name(revealed[1]) if revealed else kind)
    expected = {
        number: line.rpartition("  # ")[2] for number, line in enumerate(HANDLER.splitlines(), 1) if "  # " in line
    }
    assert said == expected
