"""Where the Tab key leads on a page, and whether each place can be seen."""

from dataclasses import dataclass

from selenium.webdriver import Keys

from support.browser import Browser

KEYS_AT_ONCE = 20
MOST_KEYS = 400

_WATCH = """
const first = document.querySelector("a[href]");
const bar = document.querySelector("nav");
const reached = new Set();
const covered = [];
const nameOf = (one) => one.outerHTML.slice(0, 120);
let isRound = false;
// As each key arrives, the one before has moved the focus and scrolled to it.
addEventListener("keydown", () => {
  const one = document.activeElement;
  if (one === first && reached.size > 1) isRound = true;
  if (one === document.body || reached.has(one)) return;
  reached.add(one);
  const {top, bottom, height} = one.getBoundingClientRect();
  const end = bar.contains(one) ? innerHeight : bar.getBoundingClientRect().top;
  // A place that is higher than the window can only be seen in part.
  const isSeen = height <= end ? top >= -1 && bottom <= end + 1 : top < end && bottom > 0;
  if (!isSeen) covered.push(`${nameOf(one)} from ${top} to ${bottom}, the bar from ${end}`);
}, {capture: true});
window.walk = {
  isRound: () => isRound,
  end: () => ({
    covered,
    unreached: [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")]
      .filter((one) => one.tabIndex >= 0 && !one.disabled && one.checkVisibility() && !reached.has(one)).map(nameOf),
  }),
};
"""


@dataclass(frozen=True, slots=True)
class Walked:
    """What a walk by Tab through the whole page found; elements are the begin of their HTML."""

    covered: list[str]
    """Those that had the focus while the bar of places, or the edge of the window, covered a part of them."""
    unreached: list[str]
    """Those that Tab never led to."""


def walk(browser: Browser) -> Walked:
    """Press Tab from the begin of the open page until the focus is at the first link again."""
    browser.run(_WATCH)
    for _ in range(MOST_KEYS // KEYS_AT_ONCE):
        browser.press(*[Keys.TAB] * KEYS_AT_ONCE)
        if browser.run("return walk.isRound()"):
            return Walked(**browser.run("return walk.end()"))
    raise AssertionError(f"{MOST_KEYS} keys do not lead around the page")
