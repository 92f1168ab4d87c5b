"""One exception for each problem type of the services. Pure.

The class of `/problems/wrong-state` is `WrongState`. Catch a base class for a whole sort: `InvalidRequest`,
`AccessDenied`, `Conflict`, `LimitReached`, `Unavailable`; all are `ProblemError`.
"""

from acked_client.model.errors import (
    AccessDenied,
    Conflict,
    InvalidRequest,
    LimitReached,
    Problem,
    ProblemError,
    Unavailable,
)


class BadJson(InvalidRequest):
    """The body is not JSON."""


class BadEncoding(InvalidRequest):
    """The body is not UTF-8."""


class BadNumber(InvalidRequest):
    """A number is out of range."""


class BadText(InvalidRequest):
    """A string can't be stored."""


class DuplicateKey(InvalidRequest):
    """A key appears twice in one object."""


class TooDeep(InvalidRequest):
    """The body is nested too deeply."""


class EmptyBody(InvalidRequest):
    """The body is empty."""


class BadIdempotencyKey(InvalidRequest):
    """The idempotency key is invalid."""


class SlowBody(Unavailable):
    """The body did not arrive in time."""


class BodyTooLarge(InvalidRequest):
    """The body is too large."""


class UnsupportedMediaType(InvalidRequest):
    """The body must be plain JSON."""


class InvalidField(InvalidRequest):
    """A field is invalid."""


class UnknownField(InvalidRequest):
    """A field is unknown."""


class UnexpectedBody(InvalidRequest):
    """This route takes no body."""


class IdempotencyKeyReused(InvalidRequest):
    """The idempotency key belongs to another request."""


class UnknownKind(InvalidRequest):
    """The kind is unknown."""


class BadCount(InvalidRequest):
    """The count is invalid."""


class BadBatch(InvalidRequest):
    """The batch name is invalid."""


class BadMessage(InvalidRequest):
    """The message is invalid."""


class TooManySubscriptions(LimitReached):
    """Too many subscriptions."""


class RateLimited(LimitReached):
    """Too many requests."""


class TooManyRequests(LimitReached):
    """Too many requests at once."""


class TooManyPolls(LimitReached):
    """Too many long polls at once."""


class TooManyBytes(LimitReached):
    """Too many bytes in flight."""


class TooManyReads(LimitReached):
    """Too many lists and counts at once."""


class TooManyLoadTests(LimitReached):
    """Too many load tests at once."""


class TooManyBulkActions(LimitReached):
    """Too many bulk actions under way."""


class TooManySchedules(LimitReached):
    """Too many schedules."""


class TooManyCallbackEndpoints(LimitReached):
    """Too many callback endpoints."""


class TooManyFeeds(LimitReached):
    """Too many connections to the feed."""


class BadHost(InvalidRequest):
    """The request must name one host."""


class HostNotAllowed(InvalidRequest):
    """This host name is not allowed."""


class CrossSite(AccessDenied):
    """A page of another origin may not do this."""


class StalePage(Conflict):
    """This page has already started its load test."""


class UpgradeRequired(InvalidRequest):
    """This path serves WebSockets."""


class OriginNotAllowed(AccessDenied):
    """This origin is not allowed."""


class BadHttp(InvalidRequest):
    """This is not an HTTP request."""


class UnsupportedTransferCoding(InvalidRequest):
    """The transfer coding is not supported."""


class SlowHead(Unavailable):
    """The request arrived too slowly."""


class HeadersTooLarge(InvalidRequest):
    """The headers are too large."""


class NoToken(AccessDenied):
    """A token is needed."""


class UnknownToken(AccessDenied):
    """The token is not valid."""


class TokenInUrl(InvalidRequest):
    """A token does not belong in the URL."""


class MissingPermission(AccessDenied):
    """The token does not allow this."""


class WrongWorkerSecret(AccessDenied):
    """The worker secret is wrong or missing."""


class NotFound(ProblemError):
    """Not found."""


class MethodNotAllowed(InvalidRequest):
    """This method is not allowed here."""


class WrongState(Conflict):
    """The job's state does not allow this."""


class InboxFull(Conflict):
    """The job's inbox is full."""


class TwoSecrets(Conflict):
    """Two secrets sign callbacks already."""


class SharedLane(Conflict):
    """The kind shares its lane."""


class AmbiguousWorker(Conflict):
    """Several workers have this name."""


class NotAccepted(Unavailable):
    """The request was not accepted."""


class OutcomeUnknown(Unavailable):
    """It is not known whether the request was stored."""


class QuotaExceeded(Unavailable):
    """Too many jobs wait."""


class Busy(Unavailable):
    """The server is at capacity."""


class StoreUnreachable(Unavailable):
    """The database is unavailable."""


class AccessUnknown(Unavailable):
    """The token can't be verified now."""


class IntakeUnreachable(Unavailable):
    """Intake could not be reached."""


class NoWorkerSecret(Unavailable):
    """No worker can connect."""


class Internal(ProblemError):
    """Internal server error."""


BY_NAME: dict[str, type[ProblemError]] = {
    "bad-json": BadJson,
    "bad-encoding": BadEncoding,
    "bad-number": BadNumber,
    "bad-text": BadText,
    "duplicate-key": DuplicateKey,
    "too-deep": TooDeep,
    "empty-body": EmptyBody,
    "bad-idempotency-key": BadIdempotencyKey,
    "slow-body": SlowBody,
    "body-too-large": BodyTooLarge,
    "unsupported-media-type": UnsupportedMediaType,
    "invalid-field": InvalidField,
    "unknown-field": UnknownField,
    "unexpected-body": UnexpectedBody,
    "idempotency-key-reused": IdempotencyKeyReused,
    "unknown-kind": UnknownKind,
    "bad-count": BadCount,
    "bad-batch": BadBatch,
    "bad-message": BadMessage,
    "too-many-subscriptions": TooManySubscriptions,
    "rate-limited": RateLimited,
    "too-many-requests": TooManyRequests,
    "too-many-polls": TooManyPolls,
    "too-many-bytes": TooManyBytes,
    "too-many-reads": TooManyReads,
    "too-many-load-tests": TooManyLoadTests,
    "too-many-bulk-actions": TooManyBulkActions,
    "too-many-schedules": TooManySchedules,
    "too-many-callback-endpoints": TooManyCallbackEndpoints,
    "too-many-feeds": TooManyFeeds,
    "bad-host": BadHost,
    "host-not-allowed": HostNotAllowed,
    "cross-site": CrossSite,
    "stale-page": StalePage,
    "upgrade-required": UpgradeRequired,
    "origin-not-allowed": OriginNotAllowed,
    "bad-http": BadHttp,
    "unsupported-transfer-coding": UnsupportedTransferCoding,
    "slow-head": SlowHead,
    "headers-too-large": HeadersTooLarge,
    "no-token": NoToken,
    "unknown-token": UnknownToken,
    "token-in-url": TokenInUrl,
    "missing-permission": MissingPermission,
    "wrong-worker-secret": WrongWorkerSecret,
    "not-found": NotFound,
    "method-not-allowed": MethodNotAllowed,
    "wrong-state": WrongState,
    "inbox-full": InboxFull,
    "two-secrets": TwoSecrets,
    "shared-lane": SharedLane,
    "ambiguous-worker": AmbiguousWorker,
    "not-accepted": NotAccepted,
    "outcome-unknown": OutcomeUnknown,
    "quota-exceeded": QuotaExceeded,
    "busy": Busy,
    "store-unreachable": StoreUnreachable,
    "access-unknown": AccessUnknown,
    "intake-unreachable": IntakeUnreachable,
    "no-worker-secret": NoWorkerSecret,
    "internal": Internal,
}
"""OWNER of the classes by the last segment of the problem type."""

_BY_STATUS: dict[int, type[ProblemError]] = {
    401: AccessDenied,
    403: AccessDenied,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    429: LimitReached,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def class_of(problem: Problem) -> type[ProblemError]:
    """Return the class of a problem; of a type that a newer server added, the class of its status."""
    if (known := BY_NAME.get(problem.name)) is not None:
        return known
    return _BY_STATUS.get(problem.status) or (InvalidRequest if problem.status < 500 else ProblemError)
