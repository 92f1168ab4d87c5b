"""Pages of another origin in a real browser: whatever they do, they start nothing; and what a person does, does.

The other origin is another port of the same host, which browsers call the same site, and the same port under another
name, which they call another site.
"""

import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import pytest

from support.browser import Browser
from support.contract import answered
from support.stacks import TestStack, eventually

READY = "Ready. Press Run to start."
COUNT = 7
TARGET = f"/load-test?count={COUNT}&kind=noop"


@dataclass
class Foreign:
    """A server of somebody else; it serves one page at every path."""

    port: int = 0
    page: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def url(self, host: str) -> str:
        """The page's address under a name."""
        return f"http://{host}:{self.port}/"


@pytest.fixture(scope="module")
def foreign() -> Iterator[Foreign]:
    made = Foreign()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = made.page.encode()
            self.send_response(200)
            for name, value in {"Content-Type": "text/html", "Content-Length": str(len(body)), **made.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.port = server.server_port
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


def gateway(stack: TestStack, path: str = TARGET) -> str:
    return f"http://localhost:{stack.gateway_port}{path}"


def asked(stack: TestStack, route: str, status: int, *, to: str = "gateway") -> float:
    return stack.metric("acked_http_requests_total", f'{{route="{route}",status="{status}"}}', to=to)


def waits_for_a_click(browser: Browser) -> None:
    browser.wait_for_text("doing", READY, within_s=60)


def runs(browser: Browser) -> str:
    """Waits until the test that the page runs has ended; its batch."""
    browser.wait_for_text("doing", f"All {COUNT} jobs have ended", within_s=40)
    return parse_qs(urlsplit(str(browser.run("return location.href"))).query)["batch"][0]


HOSTS = ["localhost", "127.0.0.1"]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("how", ["location", "refresh", "open", "form"])
def test_navigation_by_a_foreign_page_waits_for_a_click(
    stack: TestStack, browser: Browser, foreign: Foreign, host: str, how: str
) -> None:
    before, target = answered(stack), gateway(stack)
    foreign.page = {
        "location": f"<script>location = '{target}'</script>",
        "refresh": f"<meta http-equiv=refresh content='0; url={target}'>",
        "open": f"<script>window.open('{target}', '_self')</script>",
        "form": f"<form action='{gateway(stack, '/load-test')}'><input name=count value={COUNT}></form>"
        "<script>document.forms[0].submit()</script>",
    }[how]
    browser.open(foreign.url(host))
    waits_for_a_click(browser)
    assert answered(stack) == before
    browser.run('document.getElementById("form").elements.kind.value = "noop"')
    browser.run('document.getElementById("form").requestSubmit()')
    runs(browser)
    assert answered(stack) == before + COUNT


def test_link_on_a_foreign_page_waits_for_a_click_on_the_page(
    stack: TestStack, browser: Browser, foreign: Foreign
) -> None:
    before = answered(stack)
    foreign.page = f"<a id=a href='{gateway(stack)}'>more</a>"
    browser.open(foreign.url("localhost"))
    browser.click("a")
    waits_for_a_click(browser)
    browser.refresh()
    waits_for_a_click(browser)
    assert answered(stack) == before


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    "element",
    [
        "<img src='{0}'>",
        "<img src='{0}' referrerpolicy=no-referrer>",
        "<script src='{0}' referrerpolicy=no-referrer></script>",
        "<link rel=stylesheet href='{0}' referrerpolicy=no-referrer>",
        "<video src='{0}'></video>",
        "<script>fetch('{0}', {{mode: 'no-cors'}})</script>",
        "<script>fetch('{0}')</script>",
        "<script>fetch('{0}', {{method: 'POST', mode: 'no-cors'}})</script>",
        "<script>navigator.sendBeacon('{0}')</script>",
    ],
)
def test_resource_of_a_foreign_page_is_refused(
    stack: TestStack, browser: Browser, foreign: Foreign, host: str, element: str
) -> None:
    before, refused = answered(stack), asked(stack, "/load-test", 403)
    foreign.page = element.format(gateway(stack))
    browser.open(foreign.url(host))
    eventually(lambda: asked(stack, "/load-test", 403) > refused, within_s=60, what="the browser has asked")
    assert answered(stack) == before


@pytest.mark.parametrize("enctype", ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded"])
def test_form_of_a_foreign_page_is_refused(stack: TestStack, browser: Browser, foreign: Foreign, enctype: str) -> None:
    before, refused = answered(stack), asked(stack, "/process", 403, to="intake")
    foreign.page = (
        f"<form method=post enctype='{enctype}' action='http://localhost:{stack.intake_port}/process'>"
        """<input name='{"kind":"noop","payload":"' value='"}'></form><script>document.forms[0].submit()</script>"""
    )
    browser.open(foreign.url("localhost"))
    eventually(lambda: asked(stack, "/process", 403, to="intake") > refused, within_s=60, what="the browser has asked")
    assert answered(stack) == before


@pytest.mark.parametrize("eagerness", ["prefetch", "prerender"])
def test_page_that_is_loaded_ahead_waits_for_a_click(
    stack: TestStack, browser: Browser, foreign: Foreign, eagerness: str
) -> None:
    before, served = answered(stack), asked(stack, "/load-test", 200)
    # Of the gateway's own origin, which may prerender: its pages let no script make the rules.
    browser.open(gateway(stack, "/"))
    refused = browser.run(
        """
        const rules = document.createElement("script");
        rules.type = "speculationrules";
        const rule = {source: "list", urls: [arguments[1]], eagerness: "immediate"};
        try {
          rules.textContent = JSON.stringify({[arguments[0]]: [rule]});
        } catch (error) {
          return String(error);
        }
        document.head.append(rules);
        """,
        eagerness,
        TARGET,
    )
    assert "TrustedScript" in refused
    foreign.page = f'<script type=speculationrules>{{"{eagerness}": [{{"urls": ["{gateway(stack)}"]}}]}}</script>'
    browser.open(foreign.url("localhost"))
    if eagerness == "prefetch":
        eventually(lambda: asked(stack, "/load-test", 200) > served, within_s=60, what="the browser has asked")
    assert answered(stack) == before


def test_typed_address_runs_once_and_comes_again_without_a_start(stack: TestStack, browser: Browser) -> None:
    before = answered(stack)
    browser.open(gateway(stack))
    batch = runs(browser)
    assert answered(stack) == before + COUNT
    browser.refresh()
    assert runs(browser) == batch
    browser.run("location.reload()")
    assert runs(browser) == batch
    browser.open(gateway(stack, "/"))
    browser.back()
    assert runs(browser) == batch
    assert answered(stack) == before + COUNT


def test_link_of_an_own_page_that_names_the_test_runs_at_once(stack: TestStack, browser: Browser) -> None:
    before = answered(stack)
    browser.open(gateway(stack, "/"))
    browser.run(
        "const link = document.createElement('a'); link.href = arguments[0]; link.id = link.textContent = 'go';"
        "document.getElementById('main').before(link);",
        TARGET,
    )
    browser.click("go")
    runs(browser)
    assert answered(stack) == before + COUNT


def test_place_of_the_load_test_on_own_pages_waits_for_a_click(stack: TestStack, browser: Browser) -> None:
    before = answered(stack)
    browser.show_as()
    browser.open(gateway(stack, "/tokens"))
    browser.run("document.querySelector(\"nav a[href='/load-test']\").id = 'place'")
    browser.click("place")
    waits_for_a_click(browser)
    assert answered(stack) == before


def test_page_with_a_value_that_was_used_waits_for_a_click(stack: TestStack, browser: Browser) -> None:
    browser.open(gateway(stack))
    batch = runs(browser)
    before = answered(stack)
    status = browser.run(
        """
        const {runOnce, runBatch} = document.body.dataset;
        const url = `/load-test?count=1&kind=noop&batch=${runBatch}`;
        const answer = await fetch(url, {method: "POST", headers: {"Acked-Run-Once": runOnce}});
        return [answer.status, runBatch, (await answer.json()).type];
        """
    )
    assert status == [409, batch, "/problems/stale-page"]
    assert answered(stack) == before


def test_pages_folder_serves_assets_alone(stack: TestStack) -> None:
    for name in ("load_test.html", "index.html", "index.html/", "nothing.js"):
        assert stack.call("GET", f"/pages/{name}").status == 404
    assert stack.call("GET", "/pages/load_test.js").status == 200
