"""Operators' calls that do not concern single jobs, blocking: kinds, workers, the audit, tokens."""

from collections.abc import Iterator

from acked_client.core import operating
from acked_client.core.exchange import Session
from acked_client.model.lists import BulkStatus, Kind
from acked_client.model.operating import AuditEntry, Draining, KindDetails, ListedBatch, Probe, Tokens, Worker
from acked_client.model.requests import AuditFilter
from acked_client.shells.blocking import Driver


class OperatorCalls:
    """The calls of `Acked` that concern kinds, workers and the tenant, and no single job."""

    _driver: Driver
    _session: Session

    def workers(self) -> list[Worker]:
        """Return the live workers."""
        return self._driver.run(operating.workers(self._session))

    def drain(self, worker: str) -> Draining:
        """Ask a worker, by its id or its instance, to finish what it runs and to leave."""
        return self._driver.run(operating.drain(self._session, worker))

    def kind(self, name: str) -> KindDetails:
        """Return one kind with its pauses, its limit, its workers and its counts."""
        return self._driver.run(operating.kind(self._session, name))

    def pause(self, kind: str, *, reason: str | None = None) -> Kind:
        """Stop the jobs of a kind from starting. Running jobs continue, and submissions are accepted."""
        return self._driver.run(operating.change_kind(self._session, kind, "pause", reason=reason))

    def resume(self, kind: str) -> Kind:
        """Let the jobs of a paused kind start again."""
        return self._driver.run(operating.change_kind(self._session, kind, "resume"))

    def limit(
        self, kind: str, *, running: int | None = None, per_tenant: int | None = None, reason: str | None = None
    ) -> Kind:
        """Limit how many jobs of a kind run at once: over all workers, and of each tenant."""
        flow = operating.change_kind(
            self._session, kind, "limit", running=running, per_tenant=per_tenant, reason=reason
        )
        return self._driver.run(flow)

    def unlimit(self, kind: str) -> Kind:
        """Remove the limit of a kind."""
        return self._driver.run(operating.change_kind(self._session, kind, "unlimit"))

    def batches(self) -> Iterator[ListedBatch]:
        """Iterate over the batches; the one with the newest job comes first."""
        return self._driver.pages(operating.batches(self._session))

    def bulk_actions(self) -> Iterator[BulkStatus]:
        """Iterate over the bulk actions, newest first."""
        return self._driver.pages(operating.bulk_actions(self._session))

    def audit(self, where: AuditFilter | None = None, *, page_size: int = 100) -> Iterator[AuditEntry]:
        """Iterate over what operators requested, newest first."""
        return self._driver.pages(operating.audit(self._session, where, page_size))

    def tokens(self) -> Tokens:
        """Return what the own token allows, and the active tokens of its tenant."""
        return self._driver.run(operating.tokens(self._session))

    def probe(self) -> list[Probe]:
        """Look at the gateway and at intake once, without repetitions. A service that is lost has a `failure`."""
        return self._driver.run(operating.probe(self._session))
