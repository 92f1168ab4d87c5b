"""The payload of `http_call`, validated before anything is sent. Pure."""

import re
from typing import Any, Literal, TypeAlias

import msgspec
from yarl import URL

from acked import Permanent
from acked.kinds.http_guard import check_name, literal_address

MAX_URL = 8_192
MAX_HEADERS = 64
MAX_HEADER_BYTES = 16 * 1024
MAX_TIMEOUT_S = 3_600.0

Method: TypeAlias = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# VCHAR, obs-text, space and tab: a line break could inject another header.
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OURS = frozenset(
    {"accept-encoding", "connection", "content-length", "expect", "host", "keep-alive", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}
)


class CallRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The request to send. `method` defaults to GET, or POST with a body; `expect` defaults to any 2xx."""

    url: str
    method: Method | msgspec.UnsetType = msgspec.UNSET
    headers: dict[str, str] = {}
    body: str | None = None
    json: Any = msgspec.UNSET
    timeout_s: float = 30.0
    expect: int | list[int] | msgspec.UnsetType = msgspec.UNSET

    @property
    def verb(self) -> str:
        """The method to send."""
        if self.method is not msgspec.UNSET:
            return self.method
        return "GET" if self.content is None else "POST"

    @property
    def content(self) -> bytes | None:
        """The body to send."""
        if self.json is not msgspec.UNSET:
            return msgspec.json.encode(self.json)
        return None if self.body is None else self.body.encode()

    def expects(self, status: int) -> bool:
        """Whether a response with this status is a success."""
        if self.expect is msgspec.UNSET:
            return 200 <= status <= 299
        return status in self.expect if isinstance(self.expect, list) else status == self.expect

    def all_headers(self, idempotency_key: str) -> dict[str, str]:
        """Return the headers to send; the job's own override the defaults."""
        headers = {"user-agent": "acked", "idempotency-key": idempotency_key}
        if self.json is not msgspec.UNSET:
            headers["content-type"] = "application/json"
        elif self.body is not None:
            headers["content-type"] = "text/plain; charset=utf-8"
        headers.update({name.lower(): value for name, value in self.headers.items()})
        # Compressed responses could grow without bound when decompressed.
        headers["accept-encoding"] = "identity"
        return headers


def parse_request(payload: Any) -> tuple[CallRequest, URL]:
    """Return the validated request and its URL. Raise `Permanent` that names the invalid part."""
    try:
        request = msgspec.convert(payload, CallRequest)
        _check_fields(request)
        _check_headers(request.headers)
        return request, _url(request.url)
    except (msgspec.ValidationError, ValueError) as error:
        raise Permanent(f"http_call: {error}", type="bad-payload") from None


def _check_fields(request: CallRequest) -> None:
    if request.json is not msgspec.UNSET and request.body is not None:
        raise ValueError('use "json" or "body", not both')
    if not 0 < request.timeout_s <= MAX_TIMEOUT_S:
        raise ValueError(f'"timeout_s" must be more than 0 and at most {MAX_TIMEOUT_S:.0f}')
    expected = request.expect if isinstance(request.expect, list) else [request.expect]
    if not expected or any(isinstance(status, int) and not 200 <= status <= 599 for status in expected):
        raise ValueError('"expect" must be a status from 200 to 599, or a list of them')


def _check_headers(headers: dict[str, str]) -> None:
    if len(headers) > MAX_HEADERS or sum(len(name) + len(value) for name, value in headers.items()) > MAX_HEADER_BYTES:
        raise ValueError(f'"headers" exceed {MAX_HEADERS} headers or {MAX_HEADER_BYTES} bytes')
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError('"headers" contain a header twice')
    for name, value in headers.items():
        if _TOKEN.fullmatch(name) is None or _HEADER_VALUE.fullmatch(value) is None:
            raise ValueError(f'the header {name[:80]!r} in "headers" contains an invalid character')
        if name.lower() in _OURS or name.lower().startswith("proxy-"):
            raise ValueError(f'the header {name[:80]!r} in "headers" can\'t be set by a job')


def _url(text: str) -> URL:
    if len(text) > MAX_URL:
        raise ValueError(f'"url" is longer than {MAX_URL} characters')
    if re.search(r"[\x00-\x20\x7f\\]", text):
        raise ValueError('"url" contains a space, a backslash or a control character')
    try:
        url = URL(text)
        port = url.port
    except (ValueError, UnicodeError) as error:
        raise ValueError(f'"url" is not a URL: {error}') from None
    if url.scheme not in ("http", "https") or not url.raw_host or not port:
        raise ValueError('"url" must start with https:// (or http://) and name a host')
    if url.raw_user is not None or url.raw_password is not None:
        raise ValueError('"url" must not contain a user or a password; use a header')
    _check_host(url.raw_host)
    return url.with_fragment(None)


def _check_host(host: str) -> None:
    try:
        if literal_address(host) is None:
            check_name(host)
    except ValueError as error:
        raise ValueError(f'the host in "url": {error}') from None
