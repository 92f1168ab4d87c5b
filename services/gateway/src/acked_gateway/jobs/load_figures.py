"""The figures of a load test as responses show them: that of the test itself, and that of its batch."""

from typing import Annotated, NotRequired, TypedDict

from msgspec import Meta

from acked_common.api.representations import Count


class Latency(TypedDict):
    """Milliseconds from the start of each call; null if no call was persisted."""

    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None


class LatencyHistogram(TypedDict):
    """The persisted calls by latency. Both lists have the same length, which is 0 if no call was persisted."""

    bounds_ms: Annotated[list[float], Meta(description="The upper end of each bar; the first bar begins at 0.")]
    counts: list[Count]


class LoadTestLinks(TypedDict):
    """Where to follow the jobs."""

    batch: str
    jobs: str


class LoadTestAnswer(TypedDict):
    """The figures of a load test."""

    batch: str
    requested: Count
    persisted: Annotated[int, Meta(ge=0, description="Calls with a 202 and an id of their own.")]
    failed: Annotated[int, Meta(ge=0, description="All others, including those with an unknown outcome.")]
    duration_ms: float
    latency_ms: Latency
    latency_histogram: LatencyHistogram
    links: LoadTestLinks
    failures: NotRequired[Annotated[dict[str, Count], Meta(description="The number of failed calls by reason.")]]
