"""THE accept path: persist a checked submission as a job, then publish it in a bundle on its lane.

This module decides whether a request creates a job: by quota, idempotency key, kind and the limits of the kind. A
repeated request gets the job that was accepted before, even if quota and kind would refuse it by now.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from prometheus_client import Counter

from acked_common.background.kind_cache import KindCache, unknown_kind
from acked_common.background.payload_check import PayloadCheck
from acked_common.background.store_monitor import StoreMonitor
from acked_common.http import fair_thread
from acked_common.http.fair_thread import ON_LOOP_BYTES
from acked_common.http.limits import Client
from acked_common.http.problems import ErrorAt, ProblemError, problem
from acked_common.model import lifecycle
from acked_common.model.ids import new_id
from acked_common.model.principal import LOCAL, Principal
from acked_common.runtime.clock import SharedClock
from acked_common.runtime.settings import JobTimes
from acked_common.store.errors import StoreError
from acked_common.store.ports import KeyStore
from acked_common.store.records import IdempotencyKey, Insertion, KeyHolder, KindRecord, NewJob
from acked_intake.accept.endpoint_cache import EndpointCache
from acked_intake.accept.group_commit import Busy, GroupCommit
from acked_intake.accept.idempotency import fingerprint
from acked_intake.accept.keyed_commit import KeyedCommit
from acked_intake.accept.quota_counter import QuotaCounter
from acked_intake.accept.submission import Submission, beyond_limits

_repeated = Counter("acked_idempotency_keys_repeated_total", "Requests with a key that a job holds.", ["answer"])
_replayed, _reused = _repeated.labels("replayed"), _repeated.labels("reused")


class Admission(NamedTuple):
    """The checks of requests in addition to their kind's limits: two refuse requests, one finds their endpoints."""

    quota: QuotaCounter
    payloads: PayloadCheck
    endpoints: EndpointCache


class Acceptance:
    """Persist submissions as jobs."""

    def __init__(
        self,
        commit: GroupCommit,
        keyed_commit: KeyedCommit,
        store: KeyStore,
        kinds: KindCache,
        monitor: StoreMonitor,
        clock: SharedClock,
        times: JobTimes,
        admission: Admission,
    ) -> None:
        self._commit = commit
        self._keyed_commit = keyed_commit
        self._store = store
        self._kinds = kinds
        self._monitor = monitor
        self._clock = clock
        self._times = times
        self._quota = admission.quota
        self._payloads = admission.payloads
        self._endpoints = admission.endpoints

    async def accept(
        self, submission: Submission, *, client: Principal = LOCAL, key_text: str | None = None
    ) -> NewJob | KeyHolder:
        """Persist the client's job in the journals of a majority and return it. If an earlier equal request of the
        tenant has used the same key, return that request's job. Raises `ProblemError`."""
        tenant = client.tenant
        key = None
        if key_text is not None:
            key = IdempotencyKey(key_text, await fingerprint_of(submission, client=_counted(client)))
        try:
            self._quota.admit(tenant)
        except ProblemError:
            if key is None or (holder := await self._earlier(tenant, key)) is None:
                raise
            return holder
        if self._monitor.problem is not None:
            raise _not_accepted(self._monitor.problem)
        kind = self._kinds.get(submission.kind)
        if kind is None:
            kind = await self._look_for_kind(submission.kind, client)
        options = submission.options
        is_bounded = options.max_attempts is not None or options.timeout_s is not None
        if kind.schemas or is_bounded:
            holder = await self._replay_unless_allowed(submission, kind, client, key)
            if holder is not None:
                return holder
        if not self._endpoints.is_fresh:
            await self._read_endpoints()
        at = self._clock.now()
        job = NewJob(
            id=new_id(),
            kind=submission.kind,
            payload=submission.payload,
            accepted_at=at,
            lifecycle=_fields(
                at,
                submission.delay_s,
                self._times.grace_s,
                options.expires_in_s or self._times.expires_in_s,
            ),
            options=options,
            tenant=tenant,
            key=key,
            edited_from=submission.edited_from,
            callback=submission.callback,
            callback_endpoints=self._endpoints.names(tenant, submission.kind),
        )
        try:
            outcome = await (self._commit.keep(job) if key is None else self._keyed_commit.keep(job))
        except Busy:
            raise ProblemError(
                problem(
                    "busy",
                    "too many requests wait to be persisted by this intake; nothing was stored, send it again later",
                )
            ) from None
        return job if outcome is Insertion.STORED else _replay_or_refuse(outcome, key)

    async def _read_endpoints(self) -> None:
        try:
            await self._endpoints.make_fresh()
        except StoreError as error:
            raise _not_accepted(str(error)) from None

    async def _replay_unless_allowed(
        self, submission: Submission, kind: KindRecord, client: Principal, key: IdempotencyKey | None
    ) -> KeyHolder | None:
        """Return None if the kind allows the request, by its limits and its schemas. Otherwise return the job of an
        earlier request with the key, or raise `ProblemError`."""
        if beyond_limits(submission, kind) is not None:
            holder = await self._replay_beyond_limits(submission, client, key)
            if holder is not None:
                return holder
        try:
            refusal = await self._payloads.refusal(submission.payload, kind, client=_counted(client))
        except StoreError as error:
            raise _not_accepted(str(error)) from None
        if refusal is None:
            return None
        return await self._replay_of_payload(submission, kind, client, key)

    async def _replay_beyond_limits(
        self, submission: Submission, client: Principal, key: IdempotencyKey | None
    ) -> KeyHolder | None:
        """Return the job of an earlier request with the key, even if its kind would refuse it by now.

        Without such a job, read the kind again, because its handler may allow more by now. Raises `ProblemError` if
        the kind still refuses the request.
        """
        if key is not None and (holder := await self._earlier(client.tenant, key)) is not None:
            return holder
        kind = await self._look_for_kind(submission.kind, client)
        if (refusal := beyond_limits(submission, kind)) is not None:
            raise refusal
        return None

    async def _replay_of_payload(
        self, submission: Submission, kind: KindRecord, client: Principal, key: IdempotencyKey | None
    ) -> KeyHolder | None:
        """Return as `_replay_beyond_limits` does, for a payload that no live worker takes as far as is known."""
        if key is not None and (holder := await self._earlier(client.tenant, key)) is not None:
            return holder
        try:
            refusal = await self._payloads.look_again(submission.payload, kind, client=_counted(client))
        except StoreError as error:
            raise _not_accepted(str(error)) from None
        if refusal is not None:
            raise refusal
        return None

    async def _earlier(self, tenant: str, key: IdempotencyKey) -> KeyHolder | None:
        """Return the job of an earlier request that holds the key, if any. Raises `ProblemError` if that request
        differs, or if MongoDB is unavailable."""
        try:
            holder = await self._store.key_holder(tenant, key.text)
        except StoreError as error:
            raise _not_accepted(str(error)) from None
        return None if holder is None else _same_request(holder, key)

    async def _look_for_kind(self, kind: str, client: Principal) -> KindRecord:
        try:
            found = await self._kinds.look_again(kind)
        except StoreError as error:
            raise _not_accepted(str(error)) from None
        if found is None:
            errors: list[ErrorAt] = [{"pointer": "/kind", "detail": f"unknown kind {kind!r}"}]
            raise unknown_kind(kind, self._kinds.names, client, errors=errors)
        return found


def _counted(client: Principal) -> Client:
    """Return the client by which work in threads takes turns."""
    return client.tenant, client.client


async def fingerprint_of(submission: Submission, *, client: Client = None) -> bytes:
    """Return the `fingerprint`. A thread computes that of a large payload, so that it does not block the loop."""
    if len(submission.payload) <= ON_LOOP_BYTES:
        return fingerprint(submission)
    return await fair_thread.quick.run(client, lambda: fingerprint(submission))


@lru_cache(maxsize=64)
def _fields(at: datetime, delay_s: float, grace_s: float, expires_in_s: float) -> Mapping[str, Any]:
    """Jobs of one millisecond with equal values share this object."""
    return lifecycle.accept_fields(at=at, delay_s=delay_s, grace_s=grace_s, expires_in_s=expires_in_s)


def _replay_or_refuse(outcome: Insertion | KeyHolder, key: IdempotencyKey | None) -> KeyHolder:
    """Return the job that holds the key. Raises `ProblemError` if the job is not stored, or possibly not."""
    if isinstance(outcome, KeyHolder):
        return _same_request(outcome, key)
    if outcome is Insertion.NOT_STORED:
        raise _not_accepted("MongoDB did not accept the request in time")
    raise _outcome_unknown(has_key=key is not None)


def _same_request(holder: KeyHolder, key: IdempotencyKey | None) -> KeyHolder:
    if key is None or holder.fingerprint != key.fingerprint:
        _reused.inc()
        raise ProblemError(
            problem(
                "idempotency-key-reused",
                f"this Idempotency-Key belongs to job {holder.id}, whose request differs; nothing was stored. "
                "Send a new request with a new key, and the same request with the same body",
                extra={"id": str(holder.id)},
            )
        )
    _replayed.inc()
    return holder


def _outcome_unknown(*, has_key: bool) -> ProblemError:
    advice = (
        "Sending it again with the same Idempotency-Key is safe"
        if has_key
        else "Sending it again may run the work twice; with an Idempotency-Key it would be safe"
    )
    return ProblemError(
        problem(
            "outcome-unknown",
            f"MongoDB did not confirm in time: the request may be stored, and then it will run. {advice}",
        )
    )


def _not_accepted(why: str) -> ProblemError:
    return ProblemError(problem("not-accepted", f"the request was not stored: {why}. Send it again"))
