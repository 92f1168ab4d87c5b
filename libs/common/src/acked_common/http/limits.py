"""Refuses who holds too much: ledgers with names, problems, metrics and a line in the log. The rule is in `holdings`.

A client is a token's client of its tenant. Without tokens, and for requests whose token is not known, it is `None`.
Each process counts for itself.
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
"""One in so many of requests and bytes is for status and responses where everybody is one client."""
UNCOUNTED_BYTES = 16 * 1024
"""Smaller bodies are bounded with the requests that carry them."""
BYTES_KEY = "acked.bytes"
"""Where the front leaves the limit of bytes in the ASGI scope."""

_ledgers: dict[str, Ledger[Client]] = {}
"""By the limit's name; those of this process that were made last."""
_refused: Counter[tuple[str, str]] = Counter()


class _HeldCollector:
    def collect(self) -> Iterator[Metric]:
        held = GaugeMetricFamily("acked_limit_held", "What all clients hold now, by limit.", labels=["limit"])
        for name, ledger in list(_ledgers.items()):
            held.add_metric([name], ledger.held)
        yield held
        refused = CounterMetricFamily(
            "acked_limit_refused",
            "What was refused, by limit and by whose bound it was: of the client, or of all.",
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
    """Whose a request or a WebSocket is, for a ledger."""
    principal: Principal | None = scope.get(SCOPE_KEY)
    return None if principal is None else (principal.tenant, principal.client)


class Limit:
    """One thing that clients hold. `own` is the problem of a client at its bound; of all it is `busy`."""

    def __init__(self, name: str, ledger: Ledger[Client], *, own: str, what: str) -> None:
        """`what` names the thing in messages, in the plural."""
        self.name = name
        self.ledger = ledger
        self._own = own
        self._what = what
        self._logged_at = float("-inf")
        _ledgers[name] = ledger

    def take(self, client: Client, amount: int = 1, *, reserved: bool = False) -> None:
        """Adds to what the client holds. Raises `ProblemError` where it may hold no more."""
        full = self.ledger.take(client, amount, reserved=reserved)
        if full is not None:
            raise self.refusal(client, full)

    def give_back(self, client: Client, amount: int = 1) -> None:
        """Ends what was taken."""
        self.ledger.give_back(client, amount)

    @contextmanager
    def holding(self, client: Client, amount: int = 1) -> Iterator[None]:
        """Holds as long as the context lasts. Raises `ProblemError`."""
        self.take(client, amount)
        try:
            yield
        finally:
            self.give_back(client, amount)

    def refusal(self, client: Client, full: Full) -> ProblemError:
        """Counts a refusal, and says it in the log once a minute; the problem to raise."""
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
            detail = f"this client holds as many {self._what} as one may at once ({ledger.of_client:,})"
            return ProblemError(problem(self._own, detail, extra={"limit": self.name}))
        detail = f"all clients together hold as many {self._what} as this process can ({ledger.in_all:,})"
        return ProblemError(problem("busy", detail, extra={"limit": self.name}))


class HeldBytes:
    """The bytes that one request holds, of its body and its response."""

    __slots__ = ("_client", "_limit", "_scope", "held")

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self._scope = scope
        self.held = 0

    def grow_to(self, size: int, *, reserved: bool = False) -> None:
        """Holds so many bytes from now on. Raises `ProblemError` where the client may hold no more."""
        more = size - self.held
        limit: Limit | None = self._scope.get(BYTES_KEY)
        if more <= 0 or limit is None:
            return
        if not self.held:
            # The principal may become known between two takes: what is given back is the taker's.
            self._client = client_of(self._scope)
            self._limit = limit
        self._limit.take(self._client, more, reserved=reserved)
        self.held = size

    def release(self) -> None:
        """Holds nothing any more."""
        if self.held:
            self._limit.give_back(self._client, self.held)
            self.held = 0


class Limits:
    """What every HTTP service bounds: requests, long polls and bytes."""

    def __init__(self, held: HeldLimits, *, asks_for_tokens: bool) -> None:
        self._asks = asks_for_tokens
        # What long polls leave of the connections is reserve enough for them.
        self.long_polls = self.limit("long-polls", held.long_polls, own="too-many-polls", what="long polls")
        self.requests = self.limit(
            "requests", held.requests, own="too-many-requests", what="requests", has_reserve=True
        )
        self.bytes = self.limit(
            "bytes", held.bytes, own="too-many-bytes", what="bytes of bodies and responses", has_reserve=True
        )

    def limit(self, name: str, bound: Bound, *, own: str, what: str, has_reserve: bool = False) -> Limit:
        """A limit with a ledger of its own. Without tokens everybody is one client: it gets the whole, but for a
        reserve where something must go on all the same."""
        if self._asks:
            return Limit(name, Ledger(bound.in_all, bound.of_client), own=own, what=what)
        reserve = bound.in_all // RESERVED_PART if has_reserve else 0
        ledger: Ledger[Client] = Ledger(bound.in_all, bound.in_all - reserve, reserve=reserve)
        return Limit(name, ledger, own=own, what=what)
