"""The kinds that ship with Acked, one module each; they use `@handler` like any other handler."""

SHIPPED = (
    "acked.kinds.demo",
    "acked.kinds.noop",
    "acked.kinds.flaky",
    "acked.kinds.http_call",
    "acked.kinds.callback",
)
"""The modules of all shipped kinds."""

MOST_ATTEMPTS = 1_000
MOST_TIMEOUT_S = 366 * 86_400.0
"""The maximum that a request may set for each of them: the maximum of the request format."""
