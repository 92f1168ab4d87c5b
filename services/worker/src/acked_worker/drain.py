"""Drain in an order that loses nothing: stop claims, wait for jobs that end in time, release the rest, record all."""

from acked_common.outcomes.outcome import InterruptReason
from acked_common.runtime.clock import Clock
from acked_common.runtime.logs import get_log
from acked_worker.consume.in_flight import InFlightAttempts
from acked_worker.consume.lanes import Lanes
from acked_worker.handler_runner import HandlerRunner
from acked_worker.record.recorder import Recorder

log = get_log(__name__)

CLAIM_WITHIN_S = 5.0
RECORD_WITHIN_S = 5.0


async def drain(
    lanes: Lanes, runners: HandlerRunner, running: InFlightAttempts, clock: Clock, *, within_s: float
) -> None:
    """Claim no more, wait up to `within_s` for running jobs, and interrupt the rest."""
    lanes.drain()
    log.info("draining", running=len(running))
    drain_until = clock.monotonic() + within_s
    try:
        await lanes.wait_claimed(CLAIM_WITHIN_S)
    except TimeoutError:
        log.warning("a claim is still under way; its lease will bring the jobs back")
    # Unclaimed bundles return to other workers now.
    await lanes.stop()
    await runners.wait_idle(max(0.0, drain_until - clock.monotonic()))
    for held in running.all():
        if not held.ended:
            runners.interrupt(held, InterruptReason.DRAINED)


async def close_runners(runners: HandlerRunner, recorder: Recorder, running: InFlightAttempts) -> None:
    """Close the runners, which end interrupted attempts, and record all outcomes."""
    await runners.close()
    try:
        await recorder.wait_recorded(RECORD_WITHIN_S)
    except TimeoutError:
        log.warning("outcomes left unrecorded; their leases will bring the jobs back", jobs=len(running))
    await recorder.stop()
