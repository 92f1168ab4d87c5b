"""Pages of a listed origin call both services from a real browser; pages of others do not."""

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from support.browser import Browser
from support.contract import answered
from support.stacks import StartStack, TestStack


def page_server() -> http.server.ThreadingHTTPServer:
    """An origin of its own, with an empty page."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture(scope="module")
def origins() -> Iterator[tuple[str, str]]:
    """The listed origin, which is another site, and one that is not listed."""
    with page_server() as listed, page_server() as other:
        threads = [threading.Thread(target=server.serve_forever) for server in (listed, other)]
        for thread in threads:
            thread.start()
        yield f"http://127.0.0.1:{listed.server_port}", f"http://localhost:{other.server_port}"
        for server, thread in zip((listed, other), threads, strict=True):
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def stack(start_stack: StartStack, origins: tuple[str, str]) -> TestStack:
    return start_stack({"ACKED_ALLOWED_ORIGINS": f"https://app.example,{origins[0]}"})


CALLS = """
    const [gateway, intake] = arguments;
    const call = async (url, options) => {
      try {
        const answer = await fetch(url, options);
        const {headers} = answer;
        return [answer.status, (await answer.json()).type ?? "", headers.get("Location"), headers.get("Retry-After")];
      } catch (error) {
        return [0, String(error), null, null];
      }
    };
    const body = JSON.stringify({kind: "noop"});
    const json = {"Content-Type": "application/json"};
    const headers = {...json, "Idempotency-Key": "k-1", Authorization: "Bearer x"};
    return {
      kinds: await call(`${gateway}/kinds`),
      accepted: await call(`${intake}/process`, {method: "POST", body, headers}),
      simple: await call(`${intake}/process`, {method: "POST", body}),
      unknown: await call(`${intake}/process`, {method: "POST", body: '{"kind": "nope"}', headers: json}),
      nowhere: await call(`${gateway}/nowhere`),
      started: await call(`${gateway}/load-test?count=2&kind=noop`),
    };
"""
FEED = """
    return new Promise((resolve) => {
      const line = new WebSocket(arguments[0]);
      line.onmessage = ({data}) => resolve(JSON.parse(data).type);
      line.onerror = () => resolve("refused");
    });
"""


def calls(stack: TestStack, browser: Browser, origin: str) -> dict[str, Any]:
    browser.open(f"{origin}/")
    urls = [f"http://localhost:{port}" for port in (stack.gateway_port, stack.intake_port)]
    found: dict[str, Any] = browser.run(CALLS, *urls)
    return found


def test_page_of_a_listed_origin_calls_both_services(
    stack: TestStack, browser: Browser, origins: tuple[str, str]
) -> None:
    found = calls(stack, browser, origins[0])
    assert found["kinds"][0] == 200
    status, _, location, retry_after = found["accepted"]
    assert (status, retry_after) == (202, "1")
    assert location.startswith("/status/")
    assert found["simple"][:2] == [415, "/problems/unsupported-media-type"]
    assert found["unknown"][:2] == [422, "/problems/unknown-kind"]
    assert found["nowhere"][:2] == [404, "/problems/not-found"]
    assert found["started"][0] == 200
    assert browser.run(FEED, f"ws://localhost:{stack.gateway_port}/ws/feed") == "hello"


def test_page_of_another_origin_calls_and_reads_nothing(
    stack: TestStack, browser: Browser, origins: tuple[str, str]
) -> None:
    before = answered(stack)
    found = calls(stack, browser, origins[1])
    assert {name: status for name, (status, *_) in found.items()} == dict.fromkeys(found, 0)
    assert browser.run(FEED, f"ws://localhost:{stack.gateway_port}/ws/feed") == "refused"
    assert answered(stack) == before


@pytest.mark.parametrize("service", ["gateway", "intake"])
def test_preflight_and_refusals_carry_cors(stack: TestStack, service: str) -> None:
    origin = {"Origin": "https://app.example"}
    asked = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    told = stack.call("OPTIONS", "/process", to=service, headers=asked)
    assert (told.status, told.raw) == (204, b"")
    assert told.headers["access-control-allow-origin"] == "https://app.example"
    assert "Authorization" in told.headers["access-control-allow-headers"]
    for path, headers, status in (("/nowhere", origin, 404), ("/kinds", {**origin, "Host": "evil.example"}, 421)):
        answer = stack.call("GET", path, to=service, headers=headers)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, "https://app.example")
        assert answer.headers["vary"] == "Origin"
    foreign = stack.call("OPTIONS", "/process", to=service, headers={**asked, "Origin": "https://evil.example"})
    assert (foreign.status, foreign.body["type"]) == (403, "/problems/origin-not-allowed")
    assert stack.call("GET", "/kinds", to=service).headers["vary"] == "Origin"
