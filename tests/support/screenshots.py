"""Take the pictures of the documentation from a running stack: `./just screenshots`.

The stack has its own ports and folder, and the handlers of a shop. One of them breaks, so the pictures show work that
flows, a group of errors, and a job with its attempts. They are written to `docs/images`.
"""

import base64
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from acked_common.model.lifecycle import State
from deploy.native.layout import ROOT
from support.browser import Browser, running_browser
from support.roles import says, shown, until
from support.stacks import CENSUS_WITHIN_S, TestStack, eventually, running_stack
from support.story import BREAKS, BROKEN, KINDS, WORKS, deploy, write_handlers

IMAGES = ROOT / "docs" / "images"
WIDE = (1280, 860)
NARROW = (390, 844)
FLOWS_FOR_S = 100.0
"""Long enough for plots with more than one point."""
PER_S = 25.0
FAILING = 24
TALL = (1280, 1240)
SLEEP_S = 12.0
_RENEWAL = f'''"""A renewal that waits for its payment."""

import asyncio

from acked import Context, Retry, Step, handler


async def take_a_moment(ctx: Context, seconds: float) -> float:
    """Call another service."""
    await asyncio.sleep(seconds)
    if ctx.step_try == 1 and seconds > 1:
        raise ConnectionError("the bank did not respond")
    return seconds


@handler("renewal", timeout_s=60)
async def renewal(ctx: Context, payload: dict) -> float:
    """Quote, check, hold the money, and wait."""
    await ctx.step("quote", take_a_moment, ctx, 0.8)
    checks = [ctx.step(Step("check", key=item), take_a_moment, ctx, 0.6) for item in payload["items"]]
    await ctx.gather(*checks)
    await ctx.step(Step("hold", retry=Retry(3, base_s=0.5)), take_a_moment, ctx, 1.4)
    await ctx.sleep("cool-off", {SLEEP_S:g})
    await ctx.step("mail", take_a_moment, ctx, 0.5)
    return (await ctx.wait_for("paid", within_s=14 * 86_400)).value
'''


def flow(stack: TestStack) -> None:
    """Submit jobs of all kinds at a steady rate, so that the plots have a line."""
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        for number in range(int(FLOWS_FOR_S * PER_S)):
            pool.submit(stack.process, KINDS[number % len(KINDS)], payload={"order": number}, batch="orders-today")
            ahead_s = number / PER_S - (time.monotonic() - began)
            time.sleep(max(ahead_s, 0.0))


def break_invoices(stack: TestStack, handlers: Path) -> str:
    """Release the broken handler, let jobs fail with it, and return the id of one."""
    deploy(stack, handlers, BROKEN)
    ids = [stack.process(BREAKS, payload={"customer": str(4800 + n)}, batch="orders-today") for n in range(FAILING)]
    for job_id in ids:
        assert stack.finished(job_id)["state"] == State.FAILED
    eventually(
        lambda: stack.call("GET", "/attention").body["groups"], within_s=CENSUS_WITHIN_S, what="the group is counted"
    )
    return ids[-1]


def park_renewal(stack: TestStack) -> str:
    """Return a job that has slept, and waits for its payment; it has a signal of another name."""
    job_id = stack.process("renewal", payload={"customer": "4711", "items": ["roof", "cellar"]}, batch="renewals")

    def waits() -> bool:
        return bool(stack.status(job_id).get("waits", {}).get("name") == "paid")

    eventually(waits, within_s=60, what="it waits for its payment")
    assert stack.call("POST", f"/jobs/{job_id}/signals/address-changed", {"city": "Lyon"}).status == 202
    return job_id


def save(browser: Browser, path: Path) -> None:
    """Write what the window shows."""
    path.write_bytes(base64.b64decode(browser.command("Page.captureScreenshot", format="png")["data"]))


def take(browser: Browser, url: str, name: str, text: str, size: tuple[int, int], scheme: str) -> None:
    """Take one picture, when the page says a text."""
    width, height = size
    browser.show_as(width=width, height=height, scheme=scheme)
    browser.open(url)
    says(browser, text)
    # Plots are drawn in a frame of their own.
    until(
        browser,
        lambda: browser.run("return !document.querySelector('.skeleton')"),
        what=lambda: f"{name} is drawn",
    )
    path = IMAGES / f"{name}.png"
    save(browser, path)
    print(f"{path.relative_to(ROOT)}: {width} x {height}, {scheme}, {path.stat().st_size:,} bytes")  # noqa: T201


def take_all() -> None:
    """Start the stack, take all pictures, and remove the stack."""
    with tempfile.TemporaryDirectory(prefix="acked-pictures-") as place:
        handlers = Path(place, "shop")
        write_handlers(handlers, WORKS)
        (handlers / "renewal.py").write_text(_RENEWAL)
        environ = {"ACKED_HANDLERS_DIR": str(handlers), "ACKED_DRAIN_S": "2"}
        browser_folder = Path(place, "browser")
        with running_stack(Path(place, "stack"), environ=environ, scale={"worker": 2}) as stack:
            flow(stack)
            parked = park_renewal(stack)
            failed = break_invoices(stack, handlers)
            at = f"http://127.0.0.1:{stack.gateway_port}"
            with running_browser(browser_folder) as browser:
                take(browser, f"{at}/#window=15m", "overview", "needs attention|failed", WIDE, "light")
                take(browser, f"{at}/#window=15m", "overview-dark", "needs attention|failed", WIDE, "dark")
                take(browser, f"{at}/attention", "attention", f"{FAILING} failed", WIDE, "light")
                take(browser, f"{at}/attention", "attention-phone", f"{FAILING} failed", NARROW, "light")
                take(browser, f"{at}/jobs/{failed}", "job", "Attempt 2", WIDE, "light")
                take(browser, f"{at}/jobs/{parked}", "job-durable", "Ends in 13 d", TALL, "light")
                take(browser, f"{at}/kinds/{BREAKS}", "kind", "Pause", WIDE, "light")
                browser.show_as(width=WIDE[0], height=WIDE[1])
                browser.open(f"{at}/load-test?count=1000&kind=noop")
                shown(browser, "button", "^Run$").click()
                says(browser, "All 1,000 jobs have ended", within_s=60)
                save(browser, IMAGES / "load-test.png")


if __name__ == "__main__":
    take_all()
