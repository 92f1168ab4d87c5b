"""`http_call` without a network: which targets and payloads are fine, and what answers mean."""

import base64
import ipaddress
import socket
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from acked import Permanent, RetryLater
from acked.kinds.http_answer import HttpCallError, HttpResponse, raise_failure, result_of, retry_after_s
from acked.kinds.http_guard import AllowList, GuardedResolver, Refused, check_target, is_public
from acked.kinds.http_request import parse_request
from acked_common.outcomes.outcome import Succeeded, returned

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
NOT_PUBLIC = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.1.2.3", "169.254.169.254", "172.16.0.1"),
    *("192.0.0.1", "192.0.2.1", "192.168.1.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"),
    *("224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::7f00:1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "100::1"),
    *("2001:db8::1", "2001::1", "2002:7f00:1::", "2002:808:808::", "3fff::1", "5f00::1", "64:ff9b:1::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


class Resolver(AbstractResolver):
    """Answers each name with the same addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=one, port=port, family=family, proto=0, flags=0) for one in self.addresses
        ]

    async def close(self) -> None:
        return None


async def test_the_resolver_refuses_a_name_with_any_inner_address() -> None:
    nobody = AllowList()
    found = await GuardedResolver(Resolver("8.8.8.8", "1.1.1.1"), nobody).resolve("example.com", 443)
    assert [one["host"] for one in found] == ["8.8.8.8", "1.1.1.1"]
    with pytest.raises(Refused, match="not public") as caught:
        await GuardedResolver(Resolver("8.8.8.8", "10.0.0.7"), nobody).resolve("example.com", 443)
    assert "10.0.0.7" not in str(caught.value)
    assert caught.value.type == "target-not-allowed"


async def test_the_resolver_lets_an_allowed_host_through() -> None:
    guarded = GuardedResolver(Resolver("10.0.0.7"), AllowList.parse("api.internal:8000"))
    assert (await guarded.resolve("api.internal", 8000))[0]["host"] == "10.0.0.7"
    with pytest.raises(Refused):
        await guarded.resolve("api.internal", 8001)


@pytest.mark.parametrize(
    ("target", "allow", "is_fine"),
    [
        (("https", "example.com", 443), "", True),
        (("https", "8.8.8.8", 443), "", True),
        (("http", "example.com", 80), "", False),
        (("https", "127.0.0.1", 443), "", False),
        (("https", "::1", 443), "", False),
        (("http", "example.com", 80), "EXAMPLE.com.", True),
        (("http", "127.0.0.1", 9000), "127.0.0.1:9000", True),
        (("http", "127.0.0.1", 9001), "127.0.0.1:9000", False),
        (("http", "::1", 9000), "a:1, [0:0::1]:9000", True),
        (("http", "sub.example.com", 80), "example.com", False),
    ],
)
def test_targets(target: tuple[str, str, int], allow: str, is_fine: bool) -> None:
    allowed = AllowList.parse(allow)
    if is_fine:
        check_target(*target, allowed)
    else:
        with pytest.raises(Refused, match=r"add .* to ACKED_HTTP_CALL_ALLOW"):
            check_target(*target, allowed)


@pytest.mark.parametrize(
    "text", ["http://host", "host/path", "host:0", "host:99999", "a b", "*.example.com", "1.2.3", "[x]"]
)
def test_allow_lists_that_mean_nothing(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        AllowList.parse(text)


BAD_PAYLOADS: list[Any] = [
    None,
    [],
    {},
    {"url": 7},
    {"url": ""},
    {"url": "example.com"},
    {"url": "ftp://example.com/"},
    {"url": "file:///etc/passwd"},
    {"url": "https:///path"},
    {"url": "https://user:secret@example.com/"},
    {"url": "https://user@example.com/"},
    {"url": "https://example.com:99999/"},
    {"url": "https://example.com:0/"},
    {"url": "https://exam ple.com/"},
    {"url": "https://example.com/\r\nx: y"},
    {"url": "https://example.com\\@127.0.0.1/"},
    {"url": "https://2130706433/"},
    {"url": "https://127.1/"},
    {"url": "https://0x7f.1/"},
    {"url": "https://0x7f000001/"},
    {"url": "https://0177.0.0.1/"},
    {"url": "https://127.0.0.1./"},
    {"url": "https://a..b/"},
    {"url": "https://" + "a" * 64 + ".com/"},
    {"url": "https://example.com/" + "a" * 9_000},
    {"url": "https://example.com/", "extra": 1},
    {"url": "https://example.com/", "method": "CONNECT"},
    {"url": "https://example.com/", "method": "get"},
    {"url": "https://example.com/", "headers": {"host": "inner"}},
    {"url": "https://example.com/", "headers": {"Proxy-Authorization": "x"}},
    {"url": "https://example.com/", "headers": {"Transfer-Encoding": "chunked"}},
    {"url": "https://example.com/", "headers": {"x": "a\r\nb: c"}},
    {"url": "https://example.com/", "headers": {"a b": "c"}},
    {"url": "https://example.com/", "headers": {"X": "1", "x": "2"}},
    {"url": "https://example.com/", "headers": {f"h{n}": "" for n in range(65)}},
    {"url": "https://example.com/", "headers": {"x": 1}},
    {"url": "https://example.com/", "body": "a", "json": 1},
    {"url": "https://example.com/", "body": {"a": 1}},
    {"url": "https://example.com/", "timeout_s": 0},
    {"url": "https://example.com/", "timeout_s": 4_000},
    {"url": "https://example.com/", "timeout_s": "5"},
    {"url": "https://example.com/", "expect": 99},
    {"url": "https://example.com/", "expect": []},
    {"url": "https://example.com/", "expect": "200"},
]


@pytest.mark.parametrize("payload", BAD_PAYLOADS, ids=lambda payload: str(payload)[:60])
def test_bad_payloads_fail_for_good(payload: Any) -> None:
    with pytest.raises(Permanent, match=r"^http_call: ") as caught:
        parse_request(payload)
    assert caught.value.type == "bad-payload"
    assert "secret" not in str(caught.value)


def test_what_is_sent() -> None:
    request, url = parse_request({"url": "https://exämple.com/a?b=c#part", "json": {"x": None}, "expect": [200, 404]})
    assert str(url) == "https://xn--exmple-cua.com/a?b=c"
    assert url.raw_host == "xn--exmple-cua.com"
    assert (request.verb, request.content) == ("POST", b'{"x":null}')
    headers = request.all_headers("j:1")
    assert headers["idempotency-key"] == "j:1"
    assert headers["content-type"] == "application/json"
    assert [request.expects(status) for status in (200, 201, 404)] == [True, False, True]


def test_defaults_and_overrides() -> None:
    request, _ = parse_request({"url": "https://example.com/"})
    assert (request.verb, request.content, request.timeout_s) == ("GET", None, 30.0)
    assert [request.expects(status) for status in (199, 200, 204, 299, 300)] == [False, True, True, True, False]
    mine = {"Idempotency-Key": "mine", "Content-Type": "text/csv"}
    request, _ = parse_request({"url": "https://example.com/", "body": "é", "method": "PUT", "headers": mine})
    assert (request.verb, request.content) == ("PUT", "é".encode())
    headers = request.all_headers("j:1")
    assert (headers["idempotency-key"], headers["content-type"]) == ("mine", "text/csv")
    assert parse_request({"url": "https://example.com/", "json": None})[0].content == b"null"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": " 0 "}, 0.0),
        ({"retry-after": "9" * 400}, 999_999_999_999.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "²"}, None),
        ({"retry-after": "Fri, 02 Jan 2026 03:05:05 GMT"}, 60.0),
        ({"retry-after": "Fri, 02 Jan 2026 03:00:00 GMT"}, 0.0),
        ({"retry-after": "Fri, 02 Jan 2026 03:05:05 GMT", "date": "Fri, 02 Jan 2026 03:05:00 GMT"}, 5.0),
        ({"retry-after": "Fri, 02 Jan 2026 03:05:05 GMT", "date": "nonsense"}, 60.0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, NOW) == seconds


def answer(
    status: int, headers: dict[str, str] | None = None, body: bytes = b"", truncated: bool = False
) -> HttpResponse:
    """An answer."""
    return HttpResponse(status, headers or {}, body, truncated)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_statuses_that_may_pass(status: int) -> None:
    with pytest.raises(HttpCallError, match=f"^GET x returned {status}$"):
        raise_failure("GET x", answer(status), NOW)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_wins(status: int) -> None:
    with pytest.raises(RetryLater) as caught:
        raise_failure("GET x", answer(status, {"retry-after": "9"}), NOW)
    assert caught.value.after_s == 9.0


@pytest.mark.parametrize(
    ("status", "type_"), [(400, "http-status"), (404, "http-status"), (204, "http-status"), (302, "http-redirect")]
)
def test_statuses_that_stay(status: int, type_: str) -> None:
    with pytest.raises(Permanent) as caught:
        raise_failure("GET x", answer(status, {"retry-after": "9"}), NOW)
    assert caught.value.type == type_


def test_results() -> None:
    json = {"content-type": "application/problem+json; charset=utf-8", "set-cookie": "secret", "etag": "e" * 2_000}
    result = result_of(answer(200, json, b'{"a":1}'))
    assert result["json"] == {"a": 1}
    assert sorted(result["headers"]) == ["content-type", "etag"]
    assert len(result["headers"]["etag"]) == 1_024
    assert result_of(answer(200, json, b"{nan"))["body"] == "{nan"
    assert result_of(answer(200, json, b"[" * 60_000))["body"] == "[" * 60_000
    assert result_of(answer(200, {}, b"a\x00\xff"))["body_base64"] == "YQD/"
    assert result_of(answer(200, json, b'{"a":1', truncated=True))["truncated"] is True
    assert result_of(answer(204)) == {"status": 204, "headers": {}, "body": ""}


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("text/plain; charset=iso-8859-1", b"M\xfcller", "Müller"),
        ('text/html; Charset="windows-1252"', b"10 \x80", "10 €"),
        ("text/plain;charset=shift_jis", "日本".encode("shift_jis"), "日本"),
        ("text/plain; charset=utf-16", "ä".encode("utf-16"), "ä"),
        ("text/plain", "Müller".encode(), "Müller"),
        ("", b"", ""),
    ],
)
def test_a_text_is_read_in_its_charset(content_type: str, body: bytes, text: str) -> None:
    assert result_of(answer(200, {"content-type": content_type}, body))["body"] == text


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("image/png", b"\x89PN\xff"),
        ("application/octet-stream", b"a\0b"),
        ("text/plain", b"M\xfcller"),
        ("text/plain; charset=us-ascii", "ü".encode()),
        ("text/plain; charset=klingon", b"a"),
        ("text/plain; charset=idna", b"a"),
        ("text/plain; charset=base64", b"YQ=="),
    ],
)
def test_what_is_no_text_is_kept_exactly(content_type: str, body: bytes) -> None:
    result = result_of(answer(200, {"content-type": content_type}, body))
    assert base64.b64decode(result["body_base64"]) == body
    assert "body" not in result


def test_a_text_that_was_cut_within_a_character_is_text() -> None:
    result = result_of(answer(200, {}, "aü".encode()[:-1], truncated=True))
    assert (result["body"], result["truncated"]) == ("a", True)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":2}',
        '{"id":123456789012345678901234567890}',
        '{"a":NaN}',
        '["\\ud800"]',
        '{"a\\u0000":1}',
        "[" * 32 + "]" * 32,
        "1e999",
    ],
)
def test_json_that_readers_read_in_two_ways_is_kept_as_text(text: str) -> None:
    result = result_of(answer(200, {"content-type": "application/json"}, text.encode()))
    assert result["body"] == text
    assert isinstance(returned(result, 2**20), Succeeded)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json; charset=iso-8859-1", b'{"a":"M\xfcller"}'),
        ("application/vnd.api+json", '{"a":"Müller"}'.encode()),
        ("application/json", '\ufeff{"a":"Müller"}'.encode()),
    ],
)
def test_json_is_read_in_its_charset(content_type: str, body: bytes) -> None:
    assert result_of(answer(200, {"content-type": content_type}, body))["json"] == {"a": "Müller"}


def test_retry_after_of_days_is_cut_and_says_so() -> None:
    with pytest.raises(
        RetryLater, match=r"requested a wait of 259200 s; the next attempt waits the maximum of 3,600 s"
    ) as caught:
        raise_failure("GET x", HttpResponse(503, {"retry-after": "259200"}, b"", truncated=False), NOW)
    assert caught.value.after_s == 3600.0
