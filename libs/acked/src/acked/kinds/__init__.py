"""The kinds that ship with Acked: ordinary users of `@handler`, one module each."""

SHIPPED = ("acked.kinds.demo", "acked.kinds.noop", "acked.kinds.flaky", "acked.kinds.http_call")
"""The modules to load for all of them."""
