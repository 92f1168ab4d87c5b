"""The types of problem documents, and of the further members that some of them have. Pure."""

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from acked_common.api.representations import JobId, ReasonWord
from acked_common.http.problems import ErrorAt
from acked_common.model.lifecycle import State


class ProblemDocument(TypedDict):
    """RFC 9457: what went wrong, and what to do about it."""

    type: Annotated[str, Meta(description="Where a page about this problem is served; programs compare it.")]
    title: str
    status: int
    detail: Annotated[str, Meta(description="What was wrong this time.")]
    errors: NotRequired[
        Annotated[
            list[ErrorAt],
            Meta(description="Each place: a JSON Pointer into the body, or `?name` for a parameter."),
        ]
    ]


class AtOffset(TypedDict):
    """Where in the body."""

    offset: NotRequired[Annotated[int, Meta(ge=0, description="The byte of the body.")]]


class WithExample(TypedDict):
    """A call that works."""

    example: NotRequired[Annotated[str, Meta(description="A curl line that works.")]]


class KnownFields(TypedDict):
    """What the body may hold."""

    known_fields: NotRequired[list[str]]


class KnownKinds(TypedDict):
    """What work is known."""

    known_kinds: NotRequired[Annotated[list[str], Meta(description="Only for clients that may `read`.")]]


class HeldByJob(TypedDict):
    """What holds the key."""

    id: JobId


class ServedElsewhere(TypedDict):
    """Where another service serves the path."""

    url: NotRequired[str]


class FoundState(TypedDict):
    """How the job stands."""

    state: State
    reason: NotRequired[ReasonWord]


class LimitName(TypedDict):
    """What there is too much of."""

    limit: NotRequired[Annotated[str, Meta(description="The limit, as `acked_limit_refused_total` names it.")]]


MEMBERS: Mapping[str, Any] = {
    **dict.fromkeys(
        ("bad-json", "bad-encoding", "bad-number", "bad-text", "duplicate-key", "too-deep", "body-too-large"), AtOffset
    ),
    **dict.fromkeys(
        ("busy", "too-many-requests", "too-many-polls", "too-many-bytes", "too-many-reads", "too-many-load-tests"),
        LimitName,
    ),
    "method-not-allowed": WithExample,
    "unsupported-media-type": WithExample,
    "invalid-field": KnownFields,
    "unknown-field": KnownFields,
    "not-found": ServedElsewhere,
    "unknown-kind": KnownKinds,
    "idempotency-key-reused": HeldByJob,
    "wrong-state": FoundState,
}
"""Further members by the problem's name."""
