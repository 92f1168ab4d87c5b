"""Workers over HTTP: the list of live workers, and the drain of one."""

from collections.abc import Sequence
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from acked_common.api.authenticator import operator_of
from acked_common.api.routes import ApiRoute
from acked_common.background.worker_cache import WorkerCache, instance_of
from acked_common.http.problems import ProblemError, problem
from acked_common.http.responses import JsonResponse
from acked_common.model.audit import AuditAction
from acked_common.model.instants import rfc3339
from acked_common.model.principal import principal_of
from acked_common.store.ports import PresenceStore
from acked_common.store.records import WorkerRecord
from acked_gateway.audit.notes import Audit
from acked_gateway.workers.command_router import CommandRouter
from acked_gateway.workers.operations import DRAIN_WORKER, LIST_WORKERS, Draining, Worker, Workers

LIVES_WITHIN = timedelta(seconds=6)
"""Workers write their document every two seconds."""


def worker_routes(store: PresenceStore, workers: WorkerCache, commands: CommandRouter, audit: Audit) -> list[ApiRoute]:
    """Return the routes."""

    async def drain(request: Request) -> Response:
        name = request.path_params["id"]
        worker = _meant(name, await workers.workers(fresh=True))
        if worker is None:
            raise _no_such_worker(name)
        target = {"worker": worker.name, "instance": instance_of(worker.boot)}
        await audit.note(operator_of(request.scope), AuditAction.DRAIN, target)
        # Stored first, so that a worker that misses the command reads it with its next refresh.
        if not await store.request_drain(worker.boot):
            raise _no_such_worker(name)
        commands.drain(worker.boot)
        draining: Draining = {"id": name, "drain_requested": True}
        return JsonResponse(draining, status_code=202)

    async def list_workers(request: Request) -> Response:
        # All gateways respond alike, even in the second after a change.
        found = await workers.workers(fresh=True)
        tenant = principal_of(request.scope).tenant
        connected: Workers = {"workers": [worker_fields(worker, tenant) for worker in found]}
        return JsonResponse(connected)

    return [ApiRoute(list_workers, LIST_WORKERS), ApiRoute(drain, DRAIN_WORKER)]


def worker_fields(worker: WorkerRecord, tenant: str) -> Worker:
    """Return a worker as a client of a tenant sees it: jobs of other tenants are left out."""
    return {
        "id": worker.name,
        "kinds": list(worker.kinds),
        "slots": worker.slots,
        "running": worker.running,
        "instance": instance_of(worker.boot),
        "finished": worker.finished,
        "version": worker.version,
        "since": rfc3339(worker.since_at),
        "seen_at": rfc3339(worker.seen_at),
        "draining": worker.drain_requested,
        "running_jobs": [
            {"id": str(job.id), "kind": job.kind, "attempt": job.attempt, "started_at": rfc3339(job.started_at)}
            for job in worker.running_jobs
            if job.tenant == tenant
        ],
    }


def _no_such_worker(name: str) -> ProblemError:
    return ProblemError(problem("not-found", f"no worker has the id {name[:64]!r}; GET /workers lists them"))


def _meant(name: str, known: Sequence[WorkerRecord]) -> WorkerRecord | None:
    """Return the one worker with this name or instance."""
    found = [worker for worker in known if name in (worker.name, instance_of(worker.boot))]
    if len(found) > 1:
        # A killed worker stays listed for a while beside the one that replaced it.
        newest_at = max(worker.seen_at for worker in found)
        found = [worker for worker in found if newest_at - worker.seen_at < LIVES_WITHIN]
    if len(found) > 1:
        instances = ", ".join(sorted(instance_of(worker.boot) for worker in found))
        raise ProblemError(problem("ambiguous-worker", f"{name[:64]!r} is the name of the instances {instances}"))
    return found[0] if found else None
