"""Which Host and which origin a request needs, and which clients a GET that changes something serves."""

import pytest

from acked_common.http.request_guards import MAX_HEADER_BYTES
from support.guarded import (
    ACCESS_POINT,
    FOREIGN_ORIGINS,
    ORIGIN,
    OWN_ORIGINS,
    App,
    Headers,
    Message,
    call,
    guarded,
    status_of,
)


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


async def test_lifespan_passes() -> None:
    app, _ = await call([], scope_type="lifespan")
    assert app.reached
