"""`GET /status/{id}` and `GET /kinds`, shared by intake and gateway."""

from collections.abc import Callable
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from acked_common.api.authenticator import Authenticator
from acked_common.api.callback_state import callback_of
from acked_common.api.hints import Hints
from acked_common.api.long_poll import LongPolls
from acked_common.api.operations import GET_STATUS, LIST_KINDS, MAX_REV, MAX_WAIT_S, Kind, Kinds, Limited
from acked_common.api.representations import status_fields
from acked_common.api.routes import ApiRoute, Operation
from acked_common.background.kind_cache import KindCache
from acked_common.background.pause_cache import PauseCache
from acked_common.http.limits import Limit, client_of
from acked_common.http.problems import ProblemError, problem
from acked_common.http.requests import while_connected
from acked_common.http.responses import JsonResponse
from acked_common.model.ids import parse_id
from acked_common.model.instants import rfc3339
from acked_common.model.numbers import decimal, whole
from acked_common.model.pauses import KindPauses
from acked_common.model.principal import DEFAULT_TENANT, Principal, principal_of
from acked_common.store.errors import StoreError
from acked_common.store.ports import JobReader
from acked_common.store.records import Job, KindRecord

N = TypeVar("N", int, float)


async def stored_job(store: JobReader, text: str, *, tenant: str) -> Job:
    """Return the tenant's job with this id. Raise a 404 problem."""
    job_id = parse_id(text)
    job = await store.get(job_id, tenant=tenant) if job_id is not None else None
    if job is None:
        raise no_such_job(text)
    return job


def no_such_job(text: str) -> ProblemError:
    """Return the 404 problem of a missing job."""
    return ProblemError(problem("not-found", f"no job has the id {text[:64]!r}; it may be past its retention"))


def status_routes(
    store: JobReader,
    waits: LongPolls,
    hints: Hints,
    kinds: KindCache,
    pauses: PauseCache,
    authenticator: Authenticator,
    long_polls: Limit,
    *,
    list_kinds: Operation = LIST_KINDS,
) -> list[ApiRoute]:
    """Return both routes; `list_kinds` is the operation of the list of kinds, which a service may serve as a page."""

    async def status(request: Request) -> Response:
        text = request.path_params["id"]
        reader = principal_of(request.scope)
        tenant = reader.tenant
        wait_s = _number(request, "wait_s", most=MAX_WAIT_S, read=decimal)
        after_rev = _number(request, "after_rev", most=MAX_REV, read=whole)
        if wait_s:
            job_id = parse_id(text)
            if job_id is None:
                raise no_such_job(text)
            with long_polls.holding(client_of(request.scope)):
                waiting = waits.wait(job_id, after_rev=after_rev, wait_s=wait_s, tenant=tenant)
                job = await while_connected(request, waiting)
            # The wait lasts up to a minute: the token may have been revoked.
            authenticator.check_still(request.scope)
            if job is None:
                raise no_such_job(text)
        else:
            job = await stored_job(store, text, tenant=tenant)
        found, callback = await hints.of(job, reader), await callback_of(store, job)
        if found is None:
            return JsonResponse(status_fields(job, reader=reader, callback=callback))
        return JsonResponse(
            status_fields(job, reader=reader, hint=found.hint, callback=callback),
            headers={"Retry-After": str(found.retry_after_s)},
        )

    async def known_kinds(request: Request) -> Response:
        if not kinds.was_read:
            await kinds.refresh()
        try:
            # Read the pauses now: all processes must respond alike, even in the second after a pause.
            await pauses.refresh()
        except StoreError:
            # The cached pauses are as recent as the cached kinds.
            pass
        reader = principal_of(request.scope)
        known: Kinds = {"kinds": [kind_fields(kind, pauses.of(kind.name), reader) for kind in kinds.all()]}
        return JsonResponse(known)

    return [ApiRoute(status, GET_STATUS), ApiRoute(known_kinds, list_kinds)]


def _number(request: Request, name: str, *, most: N, read: Callable[[str], N]) -> N | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        value = read(text)
    except ValueError:
        value = None
    if value is None or value > most:
        what = "a whole number" if read is whole else "a number"
        detail = f"must be {what} from 0 to {most:,g}, not {text[:40]!r}"
        raise ProblemError(
            problem("invalid-field", f"{name} {detail}", errors=[{"pointer": f"?{name}", "detail": detail}])
        )
    return value


def kind_fields(kind: KindRecord, pauses: KindPauses, reader: Principal) -> Kind:
    """Return a kind for a reader; only clients of the operator's tenant see token ids."""
    fields: Kind = {
        "kind": kind.name,
        "lane": kind.lane,
        "version": kind.version,
        "timeout_s": kind.timeout_s,
        "max_attempts": kind.max_attempts,
        "backoff_base_s": kind.backoff_base_s,
        "backoff_cap_s": kind.backoff_cap_s,
        "bundle": kind.bundle,
        "seen_at": rfc3339(kind.seen_at) if kind.seen_at else None,
        "paused": None,
        "limit": None,
    }
    is_own = reader.tenant == DEFAULT_TENANT
    if (pause := pauses.current) is not None:
        fields["paused"] = {
            "client": pause.client,
            "token_id": pause.token_id if is_own else None,
            "reason": pause.reason,
            "since": rfc3339(pause.since_at),
        }
    if (limit := pauses.limit) is not None and limit.is_set:
        fields["limit"] = Limited(
            running=limit.running,
            per_tenant=limit.per_tenant,
            client=limit.client,
            token_id=limit.token_id if is_own else None,
            reason=limit.reason,
            since=rfc3339(limit.since_at),
        )
    if kind.max_attempts_limit is not None:
        fields["max_attempts_limit"] = kind.max_attempts_limit
    if kind.timeout_limit_s is not None:
        fields["timeout_limit_s"] = kind.timeout_limit_s
    if kind.payload_schema is not None:
        fields["payload_schema"] = dict(kind.payload_schema)
    return fields
