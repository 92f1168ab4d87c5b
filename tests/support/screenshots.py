"""Take the pictures of the documentation from a running stack: `./just screenshots`.

The stack has its own ports and folder, and the handlers of a shop. One of them breaks, one receiver of callbacks is
away, and a schedule skips, so the pictures show work that flows and work that needs a person. They are written to
`docs/images`.
"""

import base64
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from acked_common.model.lifecycle import State
from deploy.native.layout import ROOT
from support.browser import Browser, running_browser
from support.callback_receiver import Receiver, receiving
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
WARMING_RUNS = 3
"""Load tests before the one of the picture: the first ones meet services that have just started."""
RETRIES_S = "2,600"
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


def define_schedules(stack: TestStack) -> None:
    """Define schedules: two that fire, one of which skips, one of the night, and a paused one."""
    for name, schedule in {
        "stock-sync": {"kind": "report", "every_s": 20, "payload": {"warehouse": "north"}},
        "digest": {"kind": "demo", "every_s": 15, "payload": {"seconds": 25}, "tags": ["customers"]},
        "nightly-report": {"kind": "report", "cron": "30 2 * * *", "timezone": "Europe/Berlin"},
        "price-import": {"kind": "mail", "cron": "0 6 * * 1-5", "timezone": "Europe/Berlin"},
    }.items():
        assert stack.call("PUT", f"/schedules/{name}", schedule).status == 201
    assert stack.call("POST", "/schedules/price-import/pause", {"reason": "the supplier moves"}).status == 200


def call_back(stack: TestStack, well: Receiver, ill: Receiver) -> None:
    """Let jobs call receivers, one of which is away."""
    assert stack.call("POST", "/callback-secrets").status == 201
    for name, endpoint in {
        "billing": {"url": well.url, "kinds": ["invoice"]},
        "warehouse": {"url": ill.url, "kinds": ["report"], "events": ["job.succeeded"]},
    }.items():
        assert stack.call("PUT", f"/callback-endpoints/{name}", endpoint).status == 201
    stack.process("report", payload={"order": 77}, batch="orders-today")
    ill.wait(2)
    stack.process("mail", payload={"order": 78}, callback={"url": well.url})
    stack.process("invoice", payload={"customer": "4711"}, batch="orders-today")
    well.wait(2)


def load_test(browser: Browser, at: str) -> None:
    """Run load tests, and take the picture of the last one, as a person does who presses Run again."""
    browser.show_as(width=WIDE[0], height=WIDE[1])
    browser.open(f"{at}/load-test?count=1000&kind=noop")
    batch = ""
    for _ in range(WARMING_RUNS + 1):
        before = batch
        shown(browser, "button", "^Run$").click()
        browser.wait_for(
            f"![undefined, '{before}'].includes(document.getElementById('batch-name')?.textContent)", within_s=10
        )
        batch = browser.run("return document.getElementById('batch-name').textContent")
        says(browser, "All 1,000 jobs have ended", within_s=60)
    save(browser, IMAGES / "load-test.png")


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
        environ = {
            "ACKED_HANDLERS_DIR": str(handlers),
            "ACKED_DRAIN_S": "2",
            "ACKED_HTTP_CALL_ALLOW": "127.0.0.1",
            "ACKED_CALLBACK_RETRIES_S": RETRIES_S,
        }
        with (
            running_stack(Path(place, "stack"), environ=environ, scale={"worker": 2}) as stack,
            receiving() as well,
            receiving(*[503] * 100) as ill,
            running_browser(Path(place, "browser")) as browser,
        ):
            at = f"http://127.0.0.1:{stack.gateway_port}"
            load_test(browser, at)
            define_schedules(stack)
            flow(stack)
            parked = park_renewal(stack)
            failed = break_invoices(stack, handlers)
            call_back(stack, well, ill)
            take(browser, f"{at}/#window=15m", "overview", "needs attention|failed", WIDE, "light")
            take(browser, f"{at}/#window=15m", "overview-dark", "needs attention|failed", WIDE, "dark")
            take(browser, f"{at}/attention", "attention", f"{FAILING} failed", WIDE, "light")
            take(browser, f"{at}/attention", "attention-phone", f"{FAILING} failed", NARROW, "light")
            take(browser, f"{at}/jobs/{failed}", "job", "Attempt 2", WIDE, "light")
            take(browser, f"{at}/jobs/{parked}", "job-durable", "Ends in 13 d", TALL, "light")
            take(browser, f"{at}/kinds/{BREAKS}", "kind", "Pause", WIDE, "light")
            take(browser, f"{at}/schedules", "schedules", "price-import", WIDE, "light")
            take(browser, f"{at}/schedules/digest", "schedule", "skipped", WIDE, "light")
            take(browser, f"{at}/callbacks", "callbacks", "all calls failed", TALL, "light")


if __name__ == "__main__":
    take_all()
