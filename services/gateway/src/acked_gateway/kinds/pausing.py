"""Pause and resume kinds for operators, and expose the paused ones.

A pause is a field of the kind's document, which workers and sweepers read every second. Workers stop the whole lane of
the kind, so the kind must not share its lane.
"""

from prometheus_client import Gauge

from acked_common.background.kind_cache import KindCache
from acked_common.background.pause_cache import PauseCache
from acked_common.http.problems import ErrorAt, ProblemError, json_problem, problem
from acked_common.model import strict_json
from acked_common.model.audit import AuditAction
from acked_common.model.pauses import MAX_REASON_CHARS, KindPauses, Pause
from acked_common.model.principal import Operator, Permission, Principal
from acked_common.model.strict_json import StrictJsonError
from acked_common.runtime.clock import Clock
from acked_common.runtime.metrics import kind_label
from acked_common.store.errors import StoreError
from acked_common.store.ports import PauseStore
from acked_common.store.records import KindRecord
from acked_gateway.audit.notes import Audit

MAX_BODY_BYTES = 16 * 1024

_paused = Gauge("acked_kind_paused", "1 while an operator has paused the kind; absent otherwise.", ["kind"])


class Pausing:
    """The commands. Each returns the kind and its pauses afterwards, and raises `ProblemError` or `StoreError`."""

    def __init__(self, store: PauseStore, kinds: KindCache, pauses: PauseCache, audit: Audit, clock: Clock) -> None:
        self._store = store
        self._kinds = kinds
        self._pauses = pauses
        self._audit = audit
        self._clock = clock
        self._counted: set[str] = set()
        pauses.on_read(self._count)

    async def pause(
        self, name: str, reason: str | None, *, operator: Operator, reader: Principal
    ) -> tuple[KindRecord, KindPauses]:
        """Pause a kind. `reader` decides which other kinds a problem may name."""
        kind = await self.known(name, reader)
        others = [one.name for one in self._kinds.all() if one.lane == kind.lane and one.name != name]
        if others:
            detail = (
                f"kind {name!r} shares the lane {kind.lane!r} with {', '.join(others)}, which would stop too; give the "
                "kind a lane of its own, with the option `lane` of its handler"
            )
            raise ProblemError(problem("shared-lane", detail, extra={"lane": kind.lane, "kinds": others}))
        await self._audit.note(operator, AuditAction.PAUSE, {"kind": name}, reason=reason)
        actor = operator.actor
        pause = Pause(actor.client, actor.token_id, reason, self._clock.now())
        return kind, await self.after(name, await self._store.pause_kind(name, pause), reader)

    async def resume(self, name: str, *, operator: Operator, reader: Principal) -> tuple[KindRecord, KindPauses]:
        """Resume a kind."""
        kind = await self.known(name, reader)
        await self._audit.note(operator, AuditAction.RESUME, {"kind": name})
        return kind, await self.after(name, await self._store.resume_kind(name, at=self._clock.now()), reader)

    async def read(self, name: str, reader: Principal) -> tuple[KindRecord, KindPauses]:
        """Return the kind and its pauses as they are now."""
        kind = self._kinds.get(name) or await self.known(name, reader)
        try:
            await self._pauses.refresh()
        except StoreError:
            # What was read last is as good as the kind itself.
            pass
        return kind, self._pauses.of(name)

    async def known(self, name: str, reader: Principal) -> KindRecord:
        """Return the kind as it is registered now. Raises the problem of an unknown one."""
        # A kind that shares the lane may have been registered a moment ago.
        await self._kinds.refresh()
        kind = self._kinds.get(name)
        if kind is None:
            raise self._unknown(name, reader)
        return kind

    async def after(self, name: str, found: KindPauses | None, reader: Principal) -> KindPauses:
        """Return what holds the kind back after a command; `found` is the reply of the store."""
        if found is None:
            raise self._unknown(name, reader)
        try:
            # The status of its jobs shows the pause from now on, before the next periodic read.
            await self._pauses.refresh()
        except StoreError:
            pass
        return found

    def _unknown(self, name: str, reader: Principal) -> ProblemError:
        detail = f"no worker has registered kind {name[:64]!r}"
        if Permission.READ not in reader.permissions:
            return ProblemError(problem("not-found", detail))
        known = self._kinds.names
        detail += f"; known kinds: {', '.join(known) or 'none'}"
        return ProblemError(problem("not-found", detail, extra={"known_kinds": known}))

    def _count(self) -> None:
        paused = set(map(kind_label, self._pauses.paused))
        for kind in self._counted - paused:
            _paused.remove(kind)
        for kind in paused:
            _paused.labels(kind).set(1)
        self._counted = paused


def parse_pause(body: bytes) -> str | None:
    """Parse `{"reason"?}` or an empty body. Return the reason. Raises `ProblemError`."""
    if not body:
        return None
    try:
        members = strict_json.parse(body, max_bytes=MAX_BODY_BYTES)
    except StrictJsonError as error:
        raise ProblemError(json_problem(error)) from None
    if not isinstance(members, dict):
        raise _invalid("", 'must be an object such as {"reason": "…"}')
    for name in members:
        if name != "reason":
            raise _invalid(f"/{name}", "is not a known field; the only field is reason")
    reason = members.get("reason")
    if reason is not None and not (isinstance(reason, str) and len(reason) <= MAX_REASON_CHARS):
        raise _invalid("/reason", f"must be a text of at most {MAX_REASON_CHARS} characters")
    return reason or None


def _invalid(pointer: str, detail: str) -> ProblemError:
    errors: list[ErrorAt] = [{"pointer": pointer, "detail": detail}]
    return ProblemError(problem("invalid-field", "the body can't be used; see errors", errors=errors))
