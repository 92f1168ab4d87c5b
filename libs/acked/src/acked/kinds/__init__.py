"""The kinds that ship with Acked: ordinary users of `@handler`, one module each."""

SHIPPED = ("acked.kinds.demo", "acked.kinds.noop", "acked.kinds.flaky", "acked.kinds.http_call")
"""The modules to load for all of them."""

MOST_ATTEMPTS = 1_000
MOST_TIMEOUT_S = 366 * 86_400.0
"""What a request may ask of each of them: as much as a request can say."""
