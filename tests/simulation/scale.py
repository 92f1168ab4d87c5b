"""The times of a simulation: about a sixth of the shipped ones, so that a seed needs fewer turns of its loops."""

from datetime import timedelta

from acked_common.model.backoff import Backoff

VARIABLES = {
    "ACKED_LEASE_S": "5",
    "ACKED_RENEWAL_S": "1.6",
    "ACKED_SWEEP_TICK_S": "1.2",
    "ACKED_GRACE_S": "1.5",
    "ACKED_REPUBLISH_AFTER_S": "6",
    "ACKED_DRAIN_S": "3",
    "ACKED_HOLD_S": "2",
    "ACKED_WORKER_SLOTS": "16",
    "ACKED_WORKER_SUSPECTS": "2",
    "ACKED_WORKER_NAME": "worker",
}
REPUBLISH_AGAIN = Backoff(base_s=10.0, cap_s=150.0)
LANES_EVERY_S = 0.8
IDLE_S = 3.0
"""Between the turns of loops that only look whether there is something to do: they cost most of a simulation."""
BROKER_LOOK_EVERY_S = 10.0
BULK_RENEWAL_S = 1.0
BULK_PAGE = 3
BEATS_A_RENEWAL = 2
PAUSES_EVERY_S = 3.0
CLOCK_MARGIN_S = 3.0
"""How far a process's idea of the time may be from the server's: half of the longest round trip."""
CLOCK_MARGIN = timedelta(seconds=CLOCK_MARGIN_S)
GATEWAY_TIMEOUT_S = 1.2
WORKER_TIMEOUT_S = 1.5
PARK_OVER_S = 1.5
SETTLE_S = 2.0
PENDING_OVER_S = 2.0
"""How long a signal is pending before a sweeper announces it."""
COLLECTS_EVERY_S = 6.0
LEDGERS_LOOKED_AT_AFTER = timedelta(seconds=8)
