"""What may come in from where, and what every answer carries."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from acked_common.http.cors import EXPOSED_HEADERS, Cors
from acked_common.http.edge import Edge
from acked_common.http.request_guards import LOCAL_HOSTS, MAX_HEADER_BYTES, RequestGuards
from support.web_server import serving

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

ACCESS_POINT: Headers = [(b"host", b"127.0.0.1:8080")]
ORIGIN = "https://acked.example"


class App:
    """Answers 200 to everything and remembers that it was reached."""

    def __init__(self, headers: Headers | None = None) -> None:
        self.reached = False
        self.headers = [(b"content-type", b"application/json")] if headers is None else headers
        self.start: Message = {"type": "http.response.start", "status": 200, "headers": self.headers}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.reached = True
        if scope["type"] == "http":
            await send(self.start)
            await send({"type": "http.response.body", "body": b"{}"})
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 1000})


def guarded(app: Callable[..., Awaitable[None]]) -> Edge:
    guards = RequestGuards(
        allowed_hosts=LOCAL_HOSTS | {"acked.example", "exact.example:8443"},
        allowed_origins=frozenset({ORIGIN}),
        changing_paths=frozenset({"/load-test"}),
    )
    return Edge(app, checks=[guards.check], cors=Cors([ORIGIN]))


async def call(
    headers: Headers,
    *,
    method: str = "GET",
    path: str = "/status/1",
    scope_type: str = "http",
    app: App | None = None,
    extensions: dict[str, Any] | None = None,
) -> tuple[App, list[Message]]:
    app = app or App()
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Message = {"type": scope_type, "method": method, "path": path, "headers": headers}
    if extensions is not None:
        scope["extensions"] = extensions
    await guarded(app)(scope, receive, send)
    return app, sent


async def status_of(headers: Headers, method: str = "GET", path: str = "/status/1") -> tuple[int, str]:
    """The status, and the problem's name where the application was not reached."""
    app, sent = await call(headers, method=method, path=path)
    start, body = sent
    if app.reached:
        return start["status"], ""
    assert dict(start["headers"])[b"content-type"] == b"application/problem+json"
    problem = json.loads(body["body"])
    assert problem["status"] == start["status"]
    assert problem["title"] and problem["detail"]
    assert int(dict(start["headers"])[b"content-length"]) == len(body["body"])
    return start["status"], problem["type"].removeprefix("/problems/")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:8080",
        "127.0.0.1",
        "127.0.0.1:65535",
        "[::1]",
        "[::1]:8081",
        "acked.example:80",
        "exact.example:8443",
    ],
)
async def test_known_hosts_pass_again_and_again(host: str) -> None:
    app = App()
    guards = guarded(app)

    async def receive() -> Message:
        raise AssertionError("nothing is read")

    for _ in range(2):
        sent: list[Message] = []

        async def send(message: Message, sent: list[Message] = sent) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", host.encode())]}
        await guards(scope, receive, send)
        assert sent[0]["status"] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "evil.example:localhost",
        "localhost:80@evil.example",
        "localhost:80a",
        "localhost:123456",
        "localhost:8080:8080",
        "127.0.0.1.nip.io",
        "127.0.0.2",
        "::1",
        "[::1",
        "[::1]x",
        "[::2]:8080",
        "exact.example",
        "exact.example:80",
        "",
        "loc\xe4lhost",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_other_hosts_are_refused_on_every_route(host: str, method: str) -> None:
    assert await status_of([(b"host", host.encode("latin-1"))], method) == (421, "host-not-allowed")


async def test_exactly_one_host_is_needed() -> None:
    assert await status_of([]) == (400, "bad-host")
    assert await status_of([(b"host", b"localhost"), (b"host", b"localhost")]) == (400, "bad-host")


CHANGES = [
    *(("POST", "/process"), ("PUT", "/x"), ("DELETE", "/x"), ("PATCH", "/x"), ("POST", "/jobs/1/cancel")),
    *((method, path) for method in ("GET", "HEAD") for path in ("/load-test", "/load-test/")),
]


@pytest.mark.parametrize(("method", "path"), CHANGES)
@pytest.mark.parametrize("site", [b"cross-site", b"same-site"])
async def test_change_of_another_origin_is_refused_with_a_click_too(method: str, path: str, site: bytes) -> None:
    foreign = [*ACCESS_POINT, (b"sec-fetch-site", site)]
    clicked = [*foreign, (b"sec-fetch-user", b"?1"), (b"sec-fetch-mode", b"navigate"), (b"sec-fetch-dest", b"document")]
    for headers in (foreign, [*foreign, (b"sec-fetch-user", b"?0")], clicked):
        assert await status_of(headers, method, path) == (403, "cross-site")


@pytest.mark.parametrize("site", [b"same-origin", b"none"])
async def test_change_of_the_own_origin_is_allowed(site: bytes) -> None:
    assert await status_of([*ACCESS_POINT, (b"sec-fetch-site", site)], "POST", "/process") == (200, "")


@pytest.mark.parametrize(("method", "path"), [("POST", "/process"), ("GET", "/load-test")])
async def test_change_of_a_listed_origin_on_another_site_is_allowed(method: str, path: str) -> None:
    headers = [*ACCESS_POINT, (b"sec-fetch-site", b"cross-site"), (b"sec-fetch-mode", b"cors")]
    assert await status_of([*headers, (b"origin", ORIGIN.encode())], method, path) == (200, "")


TYPED: Headers = [
    *((b"sec-fetch-site", b"none"), (b"sec-fetch-mode", b"navigate")),
    *((b"sec-fetch-user", b"?1"), (b"sec-fetch-dest", b"document")),
]
FIREFOX = b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
STARTS: list[Headers] = [
    [],
    [(b"user-agent", b"curl/8.14.1"), (b"accept", b"*/*")],
    [(b"user-agent", b"python-requests/2.32"), (b"accept", b"*/*"), (b"accept-encoding", b"gzip, deflate")],
    [(b"accept", b"application/json, text/plain, */*")],
    # PowerShell; and fetch of Node.
    [(b"user-agent", b"Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1")],
    [(b"sec-fetch-mode", b"cors"), (b"accept", b"*/*"), (b"accept-language", b"*"), (b"user-agent", b"node")],
    [(b"referer", b"http://127.0.0.1:8080/")],
    TYPED,
]
WAITS: list[Headers] = [
    [(b"sec-fetch-site", b"none")],
    *([header for header in TYPED if header != left_out] for left_out in TYPED),
    *(
        [*TYPED, (name, value)]
        for name, value in ((b"sec-purpose", b"prefetch"), (b"sec-purpose", b"prefetch;prerender"))
    ),
    *([*TYPED, (name, value)] for name, value in ((b"purpose", b"prefetch"), (b"x-moz", b"prefetch"))),
    [(b"sec-purpose", b"prefetch")],
    [(b"purpose", b"prefetch")],
    [(b"x-moz", b"prefetch")],
    [*TYPED, (b"sec-fetch-site", b"cross-site")],
    *(
        [(b"sec-fetch-site", site), (b"sec-fetch-mode", b"no-cors"), (b"sec-fetch-dest", b"image")]
        for site in (b"cross-site", b"same-site", b"same-origin")
    ),
    [(b"sec-fetch-site", b"same-origin"), (b"sec-fetch-mode", b"cors"), (b"sec-fetch-dest", b"empty")],
    [(b"sec-fetch-mode", b"no-cors")],
    [(b"sec-fetch-mode", b"navigate")],
    [(b"sec-fetch-dest", b"image")],
    *(
        [(b"accept", accept)]
        for accept in (b"image/avif,image/webp,*/*", b"text/css,*/*;q=0.1", b"application/xhtml+xml")
    ),
    *(
        [(b"referer", referer)]
        for referer in (
            b"http://127.0.0.1:9090/",
            b"http://localhost:8080/",
            b"https://evil.example/",
            b"http://127.0.0.1:8080.evil/",
            b"x",
        )
    ),
]


@pytest.mark.parametrize("headers", STARTS)
async def test_read_that_changes_runs_for_programs_and_typed_addresses(headers: Headers) -> None:
    assert await status_of([*ACCESS_POINT, *headers], "GET", "/load-test") == (200, "")


@pytest.mark.parametrize("headers", WAITS)
async def test_read_that_changes_runs_for_nothing_else(headers: Headers) -> None:
    assert await status_of([*ACCESS_POINT, *headers], "GET", "/load-test") == (403, "cross-site")


@pytest.mark.parametrize("headers", [*STARTS, *WAITS])
async def test_page_behind_a_read_that_changes_is_let_through(headers: Headers) -> None:
    page = [header for header in headers if header[0] != b"accept"] + [(b"accept", b"text/html,*/*;q=0.8")]
    assert await status_of([*ACCESS_POINT, *page], "GET", "/load-test") == (200, "")


async def test_names_without_fetch_metadata_know_browsers_by_their_name() -> None:
    plain: Headers = [(b"accept", b"*/*"), (b"accept-language", b"de"), (b"user-agent", FIREFOX)]
    assert await status_of([(b"host", b"acked.example"), *plain], "GET", "/load-test") == (403, "cross-site")
    assert await status_of([(b"host", b"acked.example:8080"), *plain], "GET", "/load-test") == (403, "cross-site")
    assert await status_of([(b"host", b"acked.example"), *TYPED, *plain], "GET", "/load-test") == (200, "")
    curl: Headers = [(b"host", b"acked.example"), (b"user-agent", b"curl/8"), (b"accept", b"*/*")]
    assert await status_of(curl, "GET", "/load-test") == (200, "")
    for host in (b"localhost:1", b"[::1]:1", b"LOCALHOST", b"127.0.0.1"):
        assert await status_of([(b"host", host), *plain], "GET", "/load-test") == (200, "")


async def test_what_only_reads_is_allowed_from_another_site() -> None:
    headers = [*ACCESS_POINT, (b"sec-fetch-site", b"cross-site"), (b"origin", b"http://evil.example")]
    for method in ("GET", "HEAD", "OPTIONS"):
        assert await status_of(headers, method) == (200, "")


LOOPBACK_ORIGIN = "http://localhost:8080"
FOREIGN_ORIGINS = [
    "http://evil.example",
    "null",
    "",
    "http://127.0.0.1:3000",
    LOOPBACK_ORIGIN,
    "http://127.0.0.1:8080/",
    "file://127.0.0.1:8080",
    "https://acked.example:444",
    "http://acked.example",
]
OWN_ORIGINS = ["http://127.0.0.1:8080", "https://127.0.0.1:8080", ORIGIN]


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
async def test_a_foreign_origin_changes_nothing(origin: str) -> None:
    headers = [*ACCESS_POINT, (b"origin", origin.encode())]
    assert await status_of(headers, "POST") == (403, "origin-not-allowed")
    assert await status_of(headers, "GET", "/load-test") == (403, "origin-not-allowed")
    by_click = [*headers, (b"sec-fetch-site", b"cross-site"), (b"sec-fetch-user", b"?1")]
    assert await status_of(by_click, "POST") == (403, "origin-not-allowed")


@pytest.mark.parametrize("origin", OWN_ORIGINS)
async def test_the_own_and_the_listed_origins_are_allowed(origin: str) -> None:
    assert await status_of([*ACCESS_POINT, (b"origin", origin.encode())], "POST") == (200, "")


async def test_two_origins_are_refused_unless_both_are_allowed() -> None:
    good, bad = (b"origin", ORIGIN.encode()), (b"origin", b"http://evil.example")
    assert (await status_of([*ACCESS_POINT, good, bad], "POST"))[0] == 403
    assert (await status_of([*ACCESS_POINT, bad, good], "POST"))[0] == 403


async def test_a_program_without_browser_headers_is_allowed() -> None:
    assert await status_of(ACCESS_POINT, "POST", "/process") == (200, "")


async def test_the_size_of_all_headers_is_bounded() -> None:
    left = MAX_HEADER_BYTES - len(b"host127.0.0.1:8080") - len(b"x")
    assert await status_of([*ACCESS_POINT, (b"x", b"a" * left)]) == (200, "")
    assert await status_of([*ACCESS_POINT, (b"x", b"a" * (left + 1))]) == (431, "headers-too-large")
    many = [(b"x-%d" % number, b"a" * 30) for number in range(1000)]
    assert await status_of([*ACCESS_POINT, *many]) == (431, "headers-too-large")


async def cors_headers(
    origin: str | None, *, method: str = "GET", host: bytes = b"localhost", **more: str
) -> dict[str, str]:
    headers = [(b"host", host), *((name.replace("_", "-").encode(), value.encode()) for name, value in more.items())]
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    app, sent = await call(headers, method=method)
    wanted = ("vary", "access-control-")
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"] if name.decode().startswith(wanted)}
    return {"status": str(sent[0]["status"]), "reached": str(app.reached), **found}


async def test_cors_of_a_listed_origin_is_told_with_every_status() -> None:
    told = {
        "vary": "Origin",
        "access-control-allow-origin": ORIGIN,
        "access-control-expose-headers": ", ".join(EXPOSED_HEADERS),
    }
    assert await cors_headers(ORIGIN) == {"status": "200", "reached": "True", **told}
    assert await cors_headers(ORIGIN, method="POST") == {"status": "200", "reached": "True", **told}
    # Refused ahead of the application.
    assert await cors_headers(ORIGIN, host=b"evil.example") == {"status": "421", "reached": "False", **told}


@pytest.mark.parametrize("origin", [None, "https://acked.example:444", "null", "*", "http://acked.example"])
async def test_cors_of_others_is_vary_alone(origin: str | None) -> None:
    assert await cors_headers(origin) == {"status": "200", "reached": "True", "vary": "Origin"}


async def test_cors_preflight_of_a_listed_origin_is_answered_here() -> None:
    asked = {"access_control_request_method": "POST", "access_control_request_headers": "authorization,content-type"}
    found = await cors_headers(ORIGIN, method="OPTIONS", **asked)
    assert found == {
        "status": "204",
        "reached": "False",
        "vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        "access-control-allow-origin": ORIGIN,
        "access-control-allow-methods": "GET, HEAD, POST",
        "access-control-allow-headers": "Authorization, Content-Type, Idempotency-Key",
        "access-control-max-age": "600",
    }
    near = await cors_headers(ORIGIN, method="OPTIONS", access_control_request_private_network="true", **asked)
    assert near["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
async def test_cors_preflight_of_a_foreign_origin_is_refused(origin: str) -> None:
    found = await cors_headers(origin, method="OPTIONS", access_control_request_method="POST")
    assert (found["status"], found["reached"], found["vary"]) == ("403", "False", "Origin")
    assert "access-control-allow-origin" not in found


async def test_cors_options_without_a_question_goes_to_the_application() -> None:
    assert (await cors_headers(ORIGIN, method="OPTIONS"))["reached"] == "True"


async def headers_of(given: Headers) -> Headers:
    _, sent = await call(ACCESS_POINT, app=App(given))
    result: Headers = sent[0]["headers"]
    assert result[: len(given)] == given
    return result[len(given) :]


async def test_api_answers_are_not_stored_and_not_sniffed() -> None:
    added = dict(await headers_of([(b"content-type", b"application/json")]))
    assert added == {
        b"vary": b"Origin",
        b"x-content-type-options": b"nosniff",
        b"referrer-policy": b"no-referrer",
        b"cache-control": b"no-store",
    }


async def test_pages_get_a_content_security_policy() -> None:
    added = dict(await headers_of([(b"content-type", b"text/html; charset=utf-8")]))
    policy = added[b"content-security-policy"].decode()
    assert policy.startswith("default-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


async def test_what_the_application_says_about_caching_and_policy_wins() -> None:
    given = [
        (b"Content-Type", b"text/html"),
        (b"Cache-Control", b"max-age=60"),
        (b"Content-Security-Policy", b"default-src 'none'"),
    ]
    assert {name for name, _ in await headers_of(given)} == {b"x-content-type-options", b"referrer-policy", b"vary"}


async def test_an_answer_that_is_sent_twice_is_not_changed() -> None:
    app = App()
    before = list(app.headers)
    first = (await call(ACCESS_POINT, app=app))[1][0]["headers"]
    second = (await call(ACCESS_POINT, app=app))[1][0]["headers"]
    assert first == second
    assert app.start["headers"] is app.headers and app.headers == before


async def test_refusals_carry_the_security_headers_too() -> None:
    _, sent = await call([(b"host", b"evil.example")])
    names = {name for name, _ in sent[0]["headers"]}
    assert {b"x-content-type-options", b"referrer-policy", b"cache-control"} <= names


async def test_lifespan_passes() -> None:
    app, _ = await call([], scope_type="lifespan")
    assert app.reached


@pytest.mark.parametrize("origin", [origin for origin in FOREIGN_ORIGINS if origin != LOOPBACK_ORIGIN])
async def test_a_foreign_origin_gets_no_websocket(origin: str) -> None:
    headers = [*ACCESS_POINT, (b"origin", origin.encode())]
    app, sent = await call(headers, scope_type="websocket", extensions={"websocket.http.response": {}})
    assert not app.reached
    assert [message["type"] for message in sent] == ["websocket.http.response.start", "websocket.http.response.body"]
    assert sent[0]["status"] == 403


async def test_a_server_without_the_extension_closes_the_websocket() -> None:
    app, sent = await call([(b"host", b"evil.example")], scope_type="websocket")
    assert not app.reached
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1008)]


@pytest.mark.parametrize("origin", [None, *OWN_ORIGINS])
async def test_programs_and_allowed_origins_get_a_websocket(origin: str | None) -> None:
    headers = ACCESS_POINT if origin is None else [*ACCESS_POINT, (b"origin", origin.encode())]
    app, sent = await call(headers, scope_type="websocket")
    assert app.reached
    assert sent[0] == {"type": "websocket.accept"}


async def test_on_a_real_server_a_websocket_is_refused_with_a_problem() -> None:
    config = uvicorn.Config(guarded(App()), lifespan="off", log_config=None, ws="websockets-sansio")
    async with serving(config) as web:
        port = web.port
        url = f"ws://127.0.0.1:{port}/ws/feed"
        async with connect(url, proxy=None) as line:
            await line.wait_closed()
        async with connect(url, origin=Origin(f"http://127.0.0.1:{port}"), proxy=None) as line:
            await line.wait_closed()
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, origin=Origin("http://evil.example"), proxy=None)
    response = refused.value.response
    assert response.status_code == 403
    assert response.headers["content-type"] == "application/problem+json"
    assert response.body is not None
    assert json.loads(response.body)["type"] == "/problems/origin-not-allowed"
