"""The types of problem documents and of their extra members. Pure."""

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from acked_common.api.representations import JobId, ReasonWord
from acked_common.http.problems import ErrorAt
from acked_common.model.lifecycle import State


class ProblemDocument(TypedDict):
    """An RFC 9457 problem: what happened, and what to do."""

    type: Annotated[str, Meta(description="URL path of a page about this problem; compare it in programs.")]
    title: str
    status: int
    detail: Annotated[str, Meta(description="What was wrong in this request.")]
    errors: NotRequired[
        Annotated[
            list[ErrorAt],
            Meta(description="Each invalid value: a JSON Pointer into the body, or `?name` for a parameter."),
        ]
    ]


class AtOffset(TypedDict):
    """The position of a syntax error."""

    offset: NotRequired[Annotated[int, Meta(ge=0, description="Byte offset in the body.")]]


class WithExample(TypedDict):
    """An example of a valid request."""

    example: NotRequired[Annotated[str, Meta(description="A curl command that works.")]]


class KnownFields(TypedDict):
    """The fields that the body may contain."""

    known_fields: NotRequired[list[str]]


class KnownKinds(TypedDict):
    """The kinds that workers have registered."""

    known_kinds: NotRequired[Annotated[list[str], Meta(description="Only for clients with `read`.")]]


class HeldByJob(TypedDict):
    """The job that used the idempotency key first."""

    id: JobId


class ServedElsewhere(KnownKinds):
    """The URL of the path on the service that serves it; the known kinds if the path names an unknown one."""

    url: NotRequired[str]


class SharedLane(TypedDict):
    """The lane, and the other kinds on it."""

    lane: str
    kinds: list[str]


class FoundState(TypedDict):
    """The current state of the job."""

    state: State
    reason: NotRequired[ReasonWord]
    edited_to: NotRequired[
        Annotated[JobId, Meta(description="Of an edit: the job that was put in the place of this run before.")]
    ]


class LimitName(TypedDict):
    """The limit that was reached."""

    limit: NotRequired[Annotated[str, Meta(description="Its label in `acked_limit_refused_total`.")]]


MEMBERS: Mapping[str, Any] = {
    **dict.fromkeys(
        ("bad-json", "bad-encoding", "bad-number", "bad-text", "duplicate-key", "too-deep", "body-too-large"), AtOffset
    ),
    **dict.fromkeys(
        (
            *("busy", "too-many-requests", "too-many-polls", "too-many-bytes", "too-many-reads", "too-many-load-tests"),
            *("too-many-feeds", "too-many-subscriptions"),
        ),
        LimitName,
    ),
    "empty-body": WithExample,
    "method-not-allowed": WithExample,
    "unsupported-media-type": WithExample,
    "invalid-field": KnownFields,
    "unknown-field": KnownFields,
    "not-found": ServedElsewhere,
    "unknown-kind": KnownKinds,
    "idempotency-key-reused": HeldByJob,
    "wrong-state": FoundState,
    "inbox-full": FoundState,
    "shared-lane": SharedLane,
}
"""Extra members by problem name."""
