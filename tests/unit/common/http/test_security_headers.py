"""Headers that the edge adds to every response."""

from support.guarded import ACCESS_POINT, App, Headers, call


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
    assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy
    assert added[b"cross-origin-opener-policy"] == b"same-origin"
    assert b"camera=()" in added[b"permissions-policy"]


async def test_what_the_application_says_about_caching_and_policy_wins() -> None:
    given = [
        (b"Content-Type", b"text/html"),
        (b"Cache-Control", b"max-age=60"),
        (b"Content-Security-Policy", b"default-src 'none'"),
    ]
    assert {name for name, _ in await headers_of(given)} == {
        *(b"x-content-type-options", b"referrer-policy", b"vary"),
        *(b"cross-origin-opener-policy", b"permissions-policy"),
    }


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
