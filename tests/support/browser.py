"""A real browser for tests of the pages: Debian's Chromium with its driver, headless."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver import ActionChains, Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
DRIVER = ("chromedriver",)


class Program:
    """The browser as a program, with its driver."""

    def __init__(self, start: Callable[[], Chrome]) -> None:
        """`start` starts it."""
        self._start = start
        self.driver = start()

    def revive(self) -> None:
        """Start it anew if its page has crashed, as Chromium's may when it is asked for the accessibility tree of a
        page that it is leaving. Otherwise all tests behind the one that met the crash would fail too."""
        try:
            self.driver.execute_script("return 0")  # type: ignore[no-untyped-call]
        except WebDriverException:
            self.quit()
            self.driver = self._start()

    def quit(self) -> None:
        """End it."""
        self.driver.quit()


class Browser:
    """One window, with waits for changes of its page."""

    def __init__(self, program: Program) -> None:
        self.program = program

    @property
    def _driver(self) -> Chrome:
        return self.program.driver

    def open(self, url: str) -> None:
        """Open a page and return once it is loaded."""
        self._driver.get(url)

    def wait_for(self, condition: str, *, within_s: float) -> Any:
        """Return the first true value of a JavaScript expression, evaluated on each change of the page."""
        script = f"""
            const done = arguments[arguments.length - 1];
            const value = () => ({condition});
            if (value()) return done(value());
            new MutationObserver((_, observer) => {{
              const found = value();
              if (found) {{ observer.disconnect(); done(found); }}
            }}).observe(document, {{subtree: true, childList: true, characterData: true, attributes: true}});
        """
        self._driver.set_script_timeout(within_s)
        try:
            return self._driver.execute_async_script(script)  # type: ignore[no-untyped-call]
        except TimeoutException:
            shown = self._driver.execute_script("return document.body.innerText")  # type: ignore[no-untyped-call]
            raise AssertionError(f"not within {within_s:g} s: {condition}; the page:\n{shown}") from None

    def wait_for_text(self, element_id: str, text: str, *, within_s: float) -> str:
        """Return the text of an element once it contains `text`."""
        found = f'document.getElementById("{element_id}")?.textContent'
        return str(self.wait_for(f'{found}?.includes("{text}") && {found}', within_s=within_s))

    def run(self, script: str, *arguments: Any) -> Any:
        """Return a script's value; a promise is awaited."""
        return self._driver.execute_script(script, *arguments)  # type: ignore[no-untyped-call]

    def run_async(self, script: str, *arguments: Any, within_s: float = 30.0) -> Any:
        """Return what a script gives to its last argument, a function."""
        self._driver.set_script_timeout(within_s)
        return self._driver.execute_async_script(script, *arguments)  # type: ignore[no-untyped-call]

    def show_as(self, *, width: int = 1280, height: int = 900, scheme: str = "light", zoom: float = 1.0) -> None:
        """Set the size of the window in CSS pixels and the color scheme; no reload. `zoom` 4 is 400 %."""
        size = {"width": round(width / zoom), "height": round(height / zoom), "deviceScaleFactor": zoom}
        self.command("Emulation.setDeviceMetricsOverride", **size, mobile=width / zoom < 600)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", features=features)

    def command(self, name: str, **parameters: Any) -> Any:
        """Send a command of the DevTools protocol and return its result."""
        return self._driver.execute_cdp_cmd(name, parameters)  # type: ignore[no-untyped-call]

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, wherever the focus is; `selenium.webdriver.Keys` names the special ones."""
        ActionChains(self._driver).send_keys(*keys).perform()

    def click(self, element_id: str) -> None:
        """Click an element."""
        self._driver.find_element("id", element_id).click()

    def refresh(self) -> None:
        """Reload the page."""
        self._driver.refresh()

    def back(self) -> None:
        """Go back in the history."""
        self._driver.back()

    def complaints(self) -> list[str]:
        """Return the console's warnings and errors since the last call."""
        entries = self._driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [f"{entry['level']}: {entry['message']}" for entry in entries if entry["level"] in ("WARNING", "SEVERE")]


def _program(names: Sequence[str]) -> str | None:
    return next((path for name in names if (path := shutil.which(name))), None)


@contextmanager
def running_browser(folder: Path) -> Iterator[Browser]:
    """Run a browser with its own profile. Skip if none is installed; fail instead with CI=true."""
    chromium, driver_path = _program(CHROMIUM), _program(DRIVER)
    if chromium is None or driver_path is None:
        reason = "no Chromium with chromedriver is installed; as root: ./just browser"
        if os.environ.get("CI") == "true":
            raise RuntimeError(reason)
        pytest.skip(reason)
    options = ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in ("headless=new", "disable-dev-shm-usage", "disable-gpu", "no-first-run", "no-proxy-server"):
        options.add_argument(f"--{argument}")
    options.add_argument(f"--user-data-dir={folder}")
    if os.geteuid() == 0:
        # Chromium refuses to run its sandbox as root.
        options.add_argument("--no-sandbox")
    program = Program(lambda: Chrome(options=options, service=Service(driver_path, log_output=os.devnull)))
    try:
        yield Browser(program)
    finally:
        program.quit()
