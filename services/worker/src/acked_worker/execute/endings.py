"""The endings of attempts whose handler raised, or returned an invalid result."""

import asyncio
from collections.abc import Coroutine

from acked_common.outcomes.outcome import Ending, Failed, failed, format_traceback, raised
from acked_worker.execute.attempt import RunningAttempt, ending_of_stop


def ending_of_error(attempt: RunningAttempt, error: BaseException) -> Ending:
    """Return the ending of an attempt whose handler raised. Never raise."""
    # A handler in a thread is told of the stop by the cancel of a durable call.
    is_told = attempt.is_stopping and isinstance(error, asyncio.CancelledError)
    if attempt.stop_delivered or attempt.stop_seen or is_told:
        return ending_of_stop(attempt, format_traceback(error))
    try:
        return attempt.calls.ending or raised(error)
    except BaseException:
        return failed(type(error).__name__, "the handler failed with an error that can't be read", retryable=True)


def refused(value: object) -> Failed:
    """Return the ending of a plain handler that returned something to await."""
    if isinstance(value, Coroutine):
        value.close()
    message = "the handler is a plain function and returned something to await; make it `async def`"
    return failed("HandlerReturnedAwaitable", message, retryable=False)
