"""Enforce limits on what clients hold: named ledgers with problems, metrics and a log event. `holdings` has the rule.

A client is a token's client within its tenant. Without tokens, and for requests with an unknown token, it is `None`.
Each process counts separately.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from acked_common.http.holdings import Full, Ledger
from acked_common.http.problems import ProblemError, problem
from acked_common.http.settings import Bound, HeldLimits
from acked_common.model.principal import SCOPE_KEY, Principal
from acked_common.runtime.logs import get_log

log = get_log(__name__)

Client: TypeAlias = tuple[str, str] | None
"""Tenant and client of a token."""

LOGGED_EVERY_S = 60.0
RESERVED_PART = 8
"""Without tokens, one in this many requests and bytes is reserved for status requests and responses."""
UNCOUNTED_BYTES = 16 * 1024
"""Bodies below this size are bounded only by the limit of requests."""
BYTES_KEY = "acked.bytes"
"""Key of the byte limit in the ASGI scope; the edge middleware sets it."""

_ledgers: dict[str, Ledger[Client]] = {}
"""The newest ledger of this process by limit name."""
_refused: Counter[tuple[str, str]] = Counter()


class _HeldCollector:
    def collect(self) -> Iterator[Metric]:
        held = GaugeMetricFamily("acked_limit_held", "Amount that all clients hold now, by limit.", labels=["limit"])
        for name, ledger in list(_ledgers.items()):
            held.add_metric([name], ledger.held)
        yield held
        refused = CounterMetricFamily(
            "acked_limit_refused",
            "Refusals, by limit and by bound: the client's own, or that of all clients.",
            labels=["limit", "bound"],
        )
        for key, count in list(_refused.items()):
            refused.add_metric(key, count)
        yield refused

    def describe(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("acked_limit_held", "", labels=["limit"])
        yield CounterMetricFamily("acked_limit_refused", "", labels=["limit", "bound"])


REGISTRY.register(_HeldCollector())


def client_of(scope: Mapping[str, Any]) -> Client:
    """Return the client of a request or a WebSocket."""
    principal: Principal | None = scope.get(SCOPE_KEY)
    return None if principal is None else (principal.tenant, principal.client)


class Limit:
    """One limited resource. `own` names the problem for a client at its limit; the total's problem is `busy`."""

    def __init__(self, name: str, ledger: Ledger[Client], *, own: str, what: str) -> None:
        """Name the resource in messages with `what`, a plural."""
        self.name = name
        self.ledger = ledger
        self._own = own
        self._what = what
        self._logged_at = float("-inf")
        _ledgers[name] = ledger

    def take(self, client: Client, amount: int = 1, *, reserved: bool = False) -> None:
        """Add to what the client holds. Raise `ProblemError` at the limit."""
        full = self.ledger.take(client, amount, reserved=reserved)
        if full is not None:
            raise self.refusal(client, full)

    def give_back(self, client: Client, amount: int = 1) -> None:
        """Release what was taken."""
        self.ledger.give_back(client, amount)

    @contextmanager
    def holding(self, client: Client, amount: int = 1) -> Iterator[None]:
        """Hold inside this context. Raise `ProblemError`."""
        self.take(client, amount)
        try:
            yield
        finally:
            self.give_back(client, amount)

    def refusal(self, client: Client, full: Full) -> ProblemError:
        """Count a refusal, log it at most once a minute, and return the problem to raise."""
        _refused[self.name, full.value] += 1
        ledger = self.ledger
        now = time.monotonic()
        if now - self._logged_at >= LOGGED_EVERY_S:
            self._logged_at = now
            tenant, name = client or ("", "")
            log.warning(
                "a limit refuses requests",
                limit=self.name,
                bound=full.value,
                client=name or "without a known token",
                tenant=tenant,
                holds=ledger.held_by(client),
                held_in_all=ledger.held,
            )
        if full is Full.CLIENT:
            detail = f"this client holds the maximum of {ledger.of_client:,} {self._what}"
            return ProblemError(problem(self._own, detail, extra={"limit": self.name}))
        detail = f"all clients together hold the maximum of {ledger.in_all:,} {self._what} of this process"
        return ProblemError(problem("busy", detail, extra={"limit": self.name}))


class HeldBytes:
    """Count the bytes that one request holds, of its body and its response."""

    __slots__ = ("_client", "_limit", "_scope", "held")

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self._scope = scope
        self.held = 0

    def grow_to(self, size: int, *, reserved: bool = False) -> None:
        """Hold `size` bytes from now on. Raise `ProblemError` at the client's limit."""
        more = size - self.held
        limit: Limit | None = self._scope.get(BYTES_KEY)
        if more <= 0 or limit is None:
            return
        if not self.held:
            # The principal may become known between two calls: release from the client that took.
            self._client = client_of(self._scope)
            self._limit = limit
        self._limit.take(self._client, more, reserved=reserved)
        self.held = size

    def release(self) -> None:
        """Release everything."""
        if self.held:
            self._limit.give_back(self._client, self.held)
            self.held = 0


class Limits:
    """The limits of every HTTP service: requests, long polls and bytes."""

    def __init__(self, held: HeldLimits, *, asks_for_tokens: bool) -> None:
        self._asks = asks_for_tokens
        # Long polls need no reserve: their limit leaves connections free.
        self.long_polls = self.limit("long-polls", held.long_polls, own="too-many-polls", what="long polls")
        self.requests = self.limit(
            "requests", held.requests, own="too-many-requests", what="requests", has_reserve=True
        )
        self.bytes = self.limit(
            "bytes", held.bytes, own="too-many-bytes", what="bytes of bodies and responses", has_reserve=True
        )

    def limit(self, name: str, bound: Bound, *, own: str, what: str, has_reserve: bool = False) -> Limit:
        """Create a limit with its own ledger.

        Without tokens all requests run as one client. It may hold the total, less a reserve where `has_reserve` is set.
        """
        if self._asks:
            return Limit(name, Ledger(bound.in_all, bound.of_client), own=own, what=what)
        reserve = bound.in_all // RESERVED_PART if has_reserve else 0
        ledger: Ledger[Client] = Ledger(bound.in_all, bound.in_all - reserve, reserve=reserve)
        return Limit(name, ledger, own=own, what=what)
