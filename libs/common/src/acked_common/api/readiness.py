"""The readiness of a service, as `/readyz` reports it."""

from collections.abc import Callable, Mapping
from datetime import datetime

from acked_common.api.operations import Ready
from acked_common.http.responses import JsonResponse
from acked_common.model.instants import rfc3339

Health = Callable[[], "Readiness"]


class Readiness:
    """The state of a service's parts: `blocking` ones make it not ready, `degraded` ones do not."""

    def __init__(
        self,
        blocking: Mapping[str, str | None],
        degraded: Mapping[str, str | None] | None = None,
        since: Mapping[str, datetime] | None = None,
    ) -> None:
        """`since` has the instant at which the fault of a part was noticed, by part."""
        self._blocking = blocking
        self._degraded = degraded or {}
        self._since = since or {}

    def but(self, name: str, wrong: str) -> "Readiness":
        """Return a copy with one more blocking part."""
        return Readiness({**self._blocking, name: wrong}, self._degraded, self._since)

    def dated(self, since: Mapping[str, datetime]) -> "Readiness":
        """Return a copy with the instants at which faults were noticed."""
        return Readiness(self._blocking, self._degraded, since)

    @property
    def faults(self) -> frozenset[str]:
        """The parts that are not `ok`."""
        return frozenset(name for name, wrong in {**self._blocking, **self._degraded}.items() if wrong)

    @property
    def is_ready(self) -> bool:
        """Whether nothing blocks."""
        return not any(self._blocking.values())

    def response(self, *, to_stranger: bool = False) -> JsonResponse:
        """Return 200 when ready, else 503, with `ok` or the fault of each part. Strangers see no parts."""
        parts = {name: wrong or "ok" for name, wrong in {**self._blocking, **self._degraded}.items()}
        if to_stranger:
            parts = {}
        answer: Ready = {"status": "ready", "parts": parts}
        if self._since and not to_stranger:
            answer["since"] = {name: rfc3339(at) for name, at in self._since.items()}
        if not self.is_ready:
            answer["status"] = "not-ready"
        elif any(self._degraded.values()):
            answer["status"] = "degraded"
        return JsonResponse(answer, status_code=200 if self.is_ready else 503)


class FaultTimes:
    """Notes since when each part of a process has a fault. Used by one event loop."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._since: dict[str, datetime] = {}

    def note(self, found: Readiness) -> Readiness:
        """Note which faults have begun and ended; return the readiness with the instants of those that last."""
        now = self._now()
        self._since = {name: self._since.get(name, now) for name in sorted(found.faults)}
        return found.dated(self._since)
