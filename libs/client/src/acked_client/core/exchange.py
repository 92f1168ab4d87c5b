"""One call: a request that is repeated until it has a response, or until its budget is spent. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import TypeVar
from urllib.parse import urlsplit

from acked_client.core import json_text
from acked_client.core.effects import Flow, Lost, Pause, Request, Response, Send
from acked_client.core.failures import error_of, problem_of
from acked_client.core.retry import may_have_effect, next_wait_s
from acked_client.model.errors import UnexpectedResponse
from acked_client.model.requests import RetryPolicy

T = TypeVar("T")
_SHORTEST_S = 1.0
"""The shortest timeout of a repeated request, however little of the budget is left."""
_PATIENCE_S = 5.0
"""The minimum time for a response, even if the caller's deadline is closer."""
LOOKED_AT = "/process"

Check = Callable[[], Flow[Response | None]]
"""Check whether a request with an unknown outcome had its effect; return the response that represents it."""


@dataclass(slots=True)
class Session:
    """What the calls of one client share: addresses, the rule of retries, and where random values come from."""

    gateway: str
    intake: str | None
    """None until the gateway has named it."""
    policy: RetryPolicy
    random: Random
    new_key: Callable[[], str]

    def with_budget(self, budget_s: float) -> "Session":
        """Return a session whose calls take no longer than `budget_s`."""
        policy = self.policy
        request_s = min(policy.request_s, max(budget_s, _PATIENCE_S))
        return replace(self, policy=replace(policy, budget_s=min(policy.budget_s, budget_s), request_s=request_s))


def exchange(session: Session, request: Request, *, wait_s: float = 0.0, check: Check | None = None) -> Flow[Response]:
    """Return a response that is a success. Raise the `AckedError` of the last outcome otherwise.

    `wait_s` is the wait of a long poll. `check` runs before a request is repeated that may have had its effect, for
    requests that would have it twice.
    """
    policy = session.policy
    elapsed_s, failures, key = 0.0, 0, request.idempotency_key
    where = f"{request.method} {request.path}"
    while True:
        timeout_s = policy.request_s + wait_s
        if failures:
            timeout_s = max(min(timeout_s, policy.budget_s + wait_s - elapsed_s), _SHORTEST_S)
        base_url = _base_url(session, request)
        done = yield Send(base_url, request, timeout_s)
        elapsed_s += done.took_s
        outcome = done.outcome
        assert isinstance(outcome, Response | Lost)  # noqa: S101 - for the type checker
        if isinstance(outcome, Response):
            if 200 <= outcome.status < 300:
                return outcome
            if request.of_intake and _names_intake(session, outcome) and _base_url(session, request) != base_url:
                # Another thread may have learned the address meanwhile.
                continue
        pause_s = next_wait_s(policy, outcome, failures=failures, elapsed_s=elapsed_s, fraction=session.random.random())
        if pause_s is None:
            raise error_of(outcome, idempotency_key=key, where=where)
        failures += 1
        elapsed_s += (yield Pause(pause_s)).took_s
        if check is not None and (may_have_effect(outcome) or _is_unknown(outcome)):
            found = yield from check()
            if found is not None:
                return found


def locate_intake(session: Session) -> Flow[str]:
    """Return the address of intake: the one that was passed, else the one that the gateway names."""
    if session.intake is None:
        done = yield Send(session.gateway, Request("GET", LOOKED_AT), session.policy.request_s)
        outcome = done.outcome
        assert isinstance(outcome, Response | Lost)  # noqa: S101 - for the type checker
        if not isinstance(outcome, Response) or not _names_intake(session, outcome):
            raise error_of(outcome, where=f"GET {LOOKED_AT}")
    return str(session.intake)


def fetch(session: Session, request: Request, into: type[T], *, wait_s: float = 0.0) -> Flow[T]:
    """Return the decoded body of a successful response."""
    response = yield from exchange(session, request, wait_s=wait_s)
    return json_text.decode(response.body, into, response.status)


def _is_unknown(outcome: Response | Lost) -> bool:
    """Return whether the server reports an unknown outcome of the request."""
    problem = problem_of(outcome) if isinstance(outcome, Response) else None
    return problem is not None and problem.name == "outcome-unknown"


def _base_url(session: Session, request: Request) -> str:
    if request.of_intake and session.intake is not None:
        return session.intake
    return session.gateway


def _names_intake(session: Session, response: Response) -> bool:
    """Take the address of intake from the gateway's 404. Raise if that would send the token to another host."""
    problem = problem_of(response)
    url = problem.members.get("url") if problem is not None and problem.status == 404 else None
    if not isinstance(url, str) or not url.endswith(LOOKED_AT):
        return False
    if session.intake is not None:
        return True
    named, known = urlsplit(url), urlsplit(session.gateway)
    is_local = {named.hostname, known.hostname} <= {"localhost", "127.0.0.1", "::1"}
    if named.scheme != known.scheme or (named.hostname != known.hostname and not is_local):
        raise UnexpectedResponse(
            f"the gateway says that {url} takes submissions, which is another host or scheme than {session.gateway}: "
            "pass the address as intake=",
            status=response.status,
        )
    session.intake = f"{known.scheme}://{_netloc(known.hostname or '', named.port)}"
    return True


def _netloc(host: str, port: int | None) -> str:
    name = f"[{host}]" if ":" in host else host
    return name if port is None else f"{name}:{port}"
