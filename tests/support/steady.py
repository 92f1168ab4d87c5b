"""Jobs that arrive at a steady rate, and what a page does meanwhile, frame by frame of the screen."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from support.browser import Browser
from support.stacks import TestStack

CLIENTS = 4
AT_MOST_S = 90.0


@contextmanager
def steady_jobs(stack: TestStack, *, batch: str, jobs_per_s: float) -> Iterator[Callable[[], int]]:
    """Submit no-ops at this rate until the block ends; each has three transitions. The value counts the accepted."""
    over = threading.Event()
    began = time.monotonic()
    sent = [0] * CLIENTS

    def client(number: int) -> None:
        while not over.is_set() and time.monotonic() - began < AT_MOST_S:
            stack.process("noop", batch=batch)
            sent[number] += 1
            over.wait(max(0.0, began + sent[number] * CLIENTS / jobs_per_s - time.monotonic()))

    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(client, number) for number in range(CLIENTS)]
        try:
            yield lambda: sum(sent)
        finally:
            over.set()
    for one in running:
        one.result()


_FRAMES = """
const done = arguments[arguments.length - 1];
const [selector, forMs] = arguments;
const first = document.querySelector(selector);
const top = first.getBoundingClientRect().top;
const began = performance.now();
let last = began, longest = 0, frames = 0, moved = 0;
const step = (at) => {
  longest = Math.max(longest, at - last);
  last = at;
  frames += 1;
  if (first.getBoundingClientRect().top !== top || document.querySelector(selector) !== first) moved += 1;
  if (at - began < forMs) requestAnimationFrame(step);
  else done({longest_ms: longest, count: frames, moved});
};
requestAnimationFrame(step);
"""


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames of the screen over a time, and in how many of them an element had another place or was replaced."""

    longest_ms: float
    count: int
    moved: int


def frames(browser: Browser, selector: str, *, for_s: float) -> Frames:
    """Observe the first element of a selector."""
    return Frames(**browser.run_async(_FRAMES, selector, for_s * 1000, within_s=for_s + 30))


@dataclass(frozen=True, slots=True)
class Held:
    """What a page holds in memory, after garbage was collected."""

    elements: int
    listeners: int
    heap_bytes: int


def held(browser: Browser) -> Held:
    """Measure what the page holds."""
    browser.command("Performance.enable")
    browser.command("HeapProfiler.collectGarbage")
    found = {one["name"]: one["value"] for one in browser.command("Performance.getMetrics")["metrics"]}
    elements = browser.run("return document.querySelectorAll('*').length")
    return Held(int(elements), int(found["JSEventListeners"]), int(found["JSHeapUsedSize"]))
