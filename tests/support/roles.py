"""Find what a page shows as a person or a screen reader does: by role and name, in the browser's accessibility tree."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from selenium.common.exceptions import WebDriverException

from support.browser import Browser

WITHIN_S = 60.0
"""A bound for what a page shows at once: on a busy machine, whole seconds later."""
CLICKS = 3


@dataclass(frozen=True, slots=True)
class Shown:
    """One element of the page."""

    browser: Browser
    role: str
    name: str
    node: int
    """The browser's own number of the element."""

    def click(self) -> None:
        """Click its middle, as a mouse does; fails where something covers it. Click again where it has moved away under
        the mouse, or an equal one has taken its place, as a person does who sees that nothing has happened."""
        target, problem = self, ""
        for _ in range(CLICKS):
            try:
                problem = target._click_once()
                if not problem:
                    return
            except WebDriverException:
                # An event of the feed has drawn it anew.
                target, problem = shown(self.browser, self.role, f"^{re.escape(self.name)}$"), "it is replaced"
        raise AssertionError(f"{self.role} {self.name!r}: {problem}; the page:\n{text_of(self.browser)}")

    def _click_once(self) -> str:
        """Click it, and return what prevented that; empty for nothing."""
        self.browser.command("DOM.scrollIntoViewIfNeeded", backendNodeId=self.node)
        corners = self.browser.command("DOM.getBoxModel", backendNodeId=self.node)["model"]["border"]
        at = {"x": sum(corners[0::2]) / 4, "y": sum(corners[1::2]) / 4}
        # Rows that arrive above it move it between the two looks.
        if not self.call("return this.contains(document.elementFromPoint(...args))", at["x"], at["y"]):
            return "something covers it"
        self.call(
            "window.isClicked = false;"
            "this.addEventListener('click', () => { window.isClicked = true; }, { once: true, capture: true });"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.browser.command("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at)
        # The page may be another one by now, which knows nothing of it.
        return "" if self.browser.run("return window.isClicked !== false") else "it moves away under the mouse"

    def focus(self) -> None:
        """Put the focus on it."""
        self.browser.command("DOM.focus", backendNodeId=self.node)

    def type(self, text: str) -> None:
        """Replace the text of a field."""
        self.focus()
        self.call("this.select?.()")
        self.browser.command("Input.insertText", text=text)

    @property
    def text(self) -> str:
        """The text that it shows."""
        return str(self.call("return this.innerText"))

    def call(self, body: str, *arguments: Any) -> Any:
        """Run a function body with the element as `this`."""
        found = self.browser.command("DOM.resolveNode", backendNodeId=self.node)["object"]["objectId"]
        result = self.browser.command(
            "Runtime.callFunctionOn",
            objectId=found,
            functionDeclaration=f"function (...args) {{ {body} }}",
            arguments=[{"value": argument} for argument in arguments],
            returnByValue=True,
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")


def all_shown(browser: Browser, role: str, name: str = "") -> list[Shown]:
    """Return the elements with a role, such as `button`, whose accessible name matches a regular expression."""
    document = browser.command("DOM.getDocument", depth=0)["root"]["backendNodeId"]
    nodes = browser.command("Accessibility.queryAXTree", backendNodeId=document, role=role)["nodes"]
    return [
        Shown(browser, role, text, node["backendDOMNodeId"])
        for node in nodes
        if not node.get("ignored") and re.search(name, text := node.get("name", {}).get("value", ""))
    ]


def shown(browser: Browser, role: str, name: str = "", *, within_s: float = WITHIN_S) -> Shown:
    """Return the one element with this role and name, as soon as it is there and alone."""
    found: list[Shown] = []

    def is_one() -> bool:
        nonlocal found
        found = all_shown(browser, role, name)
        return len(found) == 1

    until(browser, is_one, within_s=within_s, what=lambda: f"one {role} named {name!r}: {[one.name for one in found]}")
    return found[0]


def until(browser: Browser, holds: Callable[[], Any], *, within_s: float = WITHIN_S, what: Callable[[], str]) -> None:
    """Wait until something holds of the page; fail with what the page shows."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, f"not within {within_s:g} s: {what()}; the page:\n{text_of(browser)}"
        time.sleep(0.05)


def text_of(browser: Browser) -> str:
    """Return the text that the page shows."""
    return str(browser.run("return document.body.innerText"))


def says(browser: Browser, text: str, *, within_s: float = WITHIN_S) -> None:
    """Wait until the page shows a text that matches a regular expression."""
    until(browser, lambda: re.search(text, text_of(browser)), within_s=within_s, what=lambda: f"the text {text!r}")
