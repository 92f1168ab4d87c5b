"""HTTP requests of the gateway to intake: only intake inserts jobs, so the gateway sends it requests of its callers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import aiohttp
import msgspec
from yarl import URL

from acked_common.http.problem_catalogue import CATALOGUE
from acked_common.http.problems import Problem, ProblemError, problem

PROCESS_PATH = "/process"
CONNECTIONS = 8
"""Connections for edits, which operators make one by one; further edits wait."""
WITHIN_S = 10.0
"""From the start of a call to the last byte of its response; intake responds within its own deadline."""

_BODY_BUFFER = 4096
_ACCEPTED = 202
_PASSED_ON = ("location", "retry-after", "idempotency-replayed")
_HEADERS_OF_PROBLEMS = ("Retry-After", "RateLimit", "RateLimit-Policy", "WWW-Authenticate")
_STANDARD = ("type", "title", "status", "detail", "errors")
# An operator could not act on these.
_NOT_PASSED_ON = frozenset({"internal", "not-found", "method-not-allowed"})
_UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)


def open_session(*, max_connections: int, request_timeout_s: float) -> aiohttp.ClientSession:
    """Open a session for JSON requests to intake; connections are opened when they are needed."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=max_connections, keepalive_timeout=60.0),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Content-Type": "application/json"},
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        auto_decompress=False,
        read_bufsize=_BODY_BUFFER,
        timeout=aiohttp.ClientTimeout(total=request_timeout_s),
    )


def process_url(intake_url: str) -> URL:
    """Return the URL of `POST /process`."""
    return URL(intake_url.rstrip("/") + PROCESS_PATH)


@dataclass(frozen=True, slots=True)
class AcceptedJob:
    """A 202 of intake: the job's id, the body, and the headers that clients use."""

    id: UUID
    body: bytes
    headers: Mapping[str, str]


class IntakeClient:
    """Sends single requests to the intake at `intake_url`."""

    def __init__(self, intake_url: str, *, within_s: float = WITHIN_S) -> None:
        self._url = process_url(intake_url)
        self._within_s = within_s
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the session."""
        self._session = open_session(max_connections=CONNECTIONS, request_timeout_s=self._within_s)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def process(self, body: bytes, *, key: str, authorization: str | None) -> AcceptedJob:
        """Send a request with an idempotency key, as the caller whose `Authorization` this is.

        Raises `ProblemError`: intake's own problem, or one that describes a missing response.
        """
        if self._session is None:
            raise RuntimeError("the client of intake has not been started")
        headers = {"Idempotency-Key": key} | ({} if authorization is None else {"Authorization": authorization})
        try:
            async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
                text = await response.read()
        except aiohttp.ClientConnectorError:
            raise ProblemError(
                problem("not-accepted", "intake can't be reached, so nothing was stored. Retry the request")
            ) from None
        except (aiohttp.ClientError, OSError):
            # This includes the timeout. The key makes a repetition safe.
            raise _unknown("intake did not respond in time, or the connection to it broke") from None
        if response.status != _ACCEPTED:
            raise ProblemError(_passed_on(response.status, response.headers, text))
        try:
            job_id = msgspec.json.decode(text, type=_IdOfJob).id
        except _UNREADABLE:
            raise _unknown("intake responded 202 without an id") from None
        return AcceptedJob(
            job_id, text, {name: response.headers[name] for name in _PASSED_ON if name in response.headers}
        )


class _IdOfJob(msgspec.Struct):
    id: UUID


def _unknown(why: str) -> ProblemError:
    return ProblemError(
        problem(
            "outcome-unknown", f"{why}: the job may be stored. Repeating the request is safe: the job is stored once"
        )
    )


def _passed_on(status: int, headers: Mapping[str, str], text: bytes) -> Problem:
    """Return intake's problem as the gateway's own."""
    try:
        members: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
    except _UNREADABLE:
        members = {}
    name = str(members.get("type", "")).rpartition("/")[2]
    if name not in CATALOGUE or name in _NOT_PASSED_ON or CATALOGUE[name].status != status:
        return _unknown(f"intake responded {status}").problem
    return problem(
        name,
        f"intake did not accept the job: {members.get('detail', '')}",
        errors=members.get("errors", ()),
        extra={key: value for key, value in members.items() if key not in _STANDARD},
        headers={key: headers[key] for key in _HEADERS_OF_PROBLEMS if key in headers},
    )
