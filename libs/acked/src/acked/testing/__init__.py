"""Tests of handlers without a worker.

`RecordingAttempt` is a context for handlers without durable calls:

    attempt = RecordingAttempt(failures=2)
    assert await my_handler(attempt.context, {"customer": 7}) == {"sent": True}

`LongWork` runs a handler with durable calls in virtual time. It needs `acked[testing]`, whose rules are the worker's.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from acked.testing.recording import RecordingAttempt

if TYPE_CHECKING:
    from acked.testing.changes import survives_code_change
    from acked.testing.crashes import CrashOptions, CrashReport, CrashTestFailed, survives_every_crash
    from acked.testing.kit_job import SignalRefused
    from acked.testing.long_work import LongWork
    from acked.testing.plan import Event, KitPlan, KitPlanError

__all__ = [
    "CrashOptions",
    "CrashReport",
    "CrashTestFailed",
    "Event",
    "KitPlan",
    "KitPlanError",
    "LongWork",
    "RecordingAttempt",
    "SignalRefused",
    "survives_code_change",
    "survives_every_crash",
]

_OF_THE_KIT = {
    "CrashOptions": "acked.testing.crashes",
    "CrashReport": "acked.testing.crashes",
    "CrashTestFailed": "acked.testing.crashes",
    "Event": "acked.testing.plan",
    "KitPlan": "acked.testing.plan",
    "LongWork": "acked.testing.long_work",
    "KitPlanError": "acked.testing.plan",
    "SignalRefused": "acked.testing.kit_job",
    "survives_code_change": "acked.testing.changes",
    "survives_every_crash": "acked.testing.crashes",
}


def __getattr__(name: str) -> Any:
    # Only the kit needs acked-common; handlers are also tested where it is not installed.
    if name not in _OF_THE_KIT:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_OF_THE_KIT[name]), name)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] == "acked_common":
            raise ImportError(f"{name} needs the rules of the service: pip install 'acked[testing]'") from error
        raise
