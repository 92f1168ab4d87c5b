"""The readiness of a service, as `/readyz` reports it."""

from collections.abc import Callable, Mapping

from acked_common.api.operations import Ready
from acked_common.http.responses import JsonResponse

Health = Callable[[], "Readiness"]


class Readiness:
    """The state of a service's parts: `blocking` ones make it not ready, `degraded` ones do not."""

    def __init__(self, blocking: Mapping[str, str | None], degraded: Mapping[str, str | None] | None = None) -> None:
        self._blocking = blocking
        self._degraded = degraded or {}

    def but(self, name: str, wrong: str) -> "Readiness":
        """Return a copy with one more blocking part."""
        return Readiness({**self._blocking, name: wrong}, self._degraded)

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
        if not self.is_ready:
            answer["status"] = "not-ready"
        elif any(self._degraded.values()):
            answer["status"] = "degraded"
        return JsonResponse(answer, status_code=200 if self.is_ready else 503)
