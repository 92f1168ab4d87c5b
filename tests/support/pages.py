"""Open pages of a stack in a browser, with the token of a client or without one."""

from support.access import Client
from support.browser import Browser
from support.roles import until
from support.stacks import TestStack


def url(stack: TestStack, path: str) -> str:
    """Return the address of a page."""
    return f"http://127.0.0.1:{stack.gateway_port}{path}"


def open_as(browser: Browser, client: Client, path: str) -> None:
    """Follow a link to a page with a token of this tab; a typed address of the load test would start one."""
    browser.open(url(client.stack, "/healthz"))
    browser.run("sessionStorage.setItem('acked.token', arguments[0])", client.token)
    browser.run("window.isLeft = true; location.assign(arguments[0])", path)
    drawn = "return !window.isLeft && document.querySelector('main')?.innerText.trim().length > 0"
    until(browser, lambda: browser.run(drawn), what=lambda: f"{path} is drawn")
