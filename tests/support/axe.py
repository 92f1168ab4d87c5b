"""Check a page for faults of accessibility with axe-core, in the browser that shows it."""

from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from support.browser import Browser

TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
OF_COLORS = ("color-contrast", "link-in-text-block")
"""The only rules among them that read colors."""

_RUN = """
const done = arguments[arguments.length - 1];
axe.run(document, {runOnly: arguments[0], resultTypes: ["violations"]}).then(
  ({violations}) => done(violations.map(({id, impact, nodes}) =>
    `${impact} ${id}: ${nodes.map(({html, failureSummary}) => `${html.slice(0, 200)} ${failureSummary}`).join("; ")}`)),
  (error) => done([String(error)]));
"""


@cache
def _source() -> str:
    return Path(str(distribution("axe-playwright-python").locate_file("axe_playwright_python/axe.min.js"))).read_text()


def faults(browser: Browser) -> list[str]:
    """Return the violations of WCAG 2.2 AA and of axe's best practices that the page has as it is shown now."""
    return _run(browser, {"type": "tag", "values": TAGS})


def faults_of_colors(browser: Browser) -> list[str]:
    """Return the violations that another color scheme can add to those of a page whose `faults` are known."""
    return _run(browser, {"type": "rule", "values": OF_COLORS})


def _run(browser: Browser, rules: dict[str, Any]) -> list[str]:
    if not browser.run("return typeof window.axe === 'object'"):
        # The driver evaluates it, so the policy of the page does not concern it.
        browser.run(_source())
    found: list[str] = browser.run_async(_RUN, rules)
    return found
