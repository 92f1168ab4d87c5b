"""The client of Acked: submit jobs, wait for their results, follow them, and operate them.

    from acked_client import Acked

    with Acked("http://localhost:8080") as acked:
        job = acked.submit("hello", {"name": "Ada"})
        print(job.result(timeout=30))

`AsyncAcked` has the same methods for asyncio. All exceptions are `AckedError`; `acked_client.problems` has one for each
problem type of the services.
"""

from acked_client import problems
from acked_client.async_client import AsyncAcked
from acked_client.client import Acked
from acked_client.model.callbacks import (
    CallbackEndpoint,
    CallbackSecret,
    Delivery,
    DeliveryAttempt,
    MadeCallbackSecret,
    Resent,
)
from acked_client.model.errors import (
    AccessDenied,
    AckedError,
    Conflict,
    InvalidRequest,
    JobCancelled,
    JobFailed,
    LimitReached,
    NoResponse,
    Problem,
    ProblemError,
    ResultMismatch,
    StillRunning,
    Unavailable,
    UnexpectedResponse,
)
from acked_client.model.figures import Backlog, KindTotals, WindowTotals
from acked_client.model.jobs import Attempt, JobError, JobEvent, JobStatus, JobSummary, SentSignal, Step
from acked_client.model.lists import AttentionGroup, AttentionNotes, Batch, BulkPreview, BulkStatus, Kind
from acked_client.model.operating import AuditEntry, JobDetails, KindDetails, Probe, Signals, Tokens, Worker
from acked_client.model.problems import NotFound
from acked_client.model.requests import (
    AuditFilter,
    Callback,
    CallbackEndpointDefinition,
    JobFilter,
    Resolution,
    RetryPolicy,
    ScheduleDefinition,
    Submission,
    SubmittedRow,
)
from acked_client.model.schedules import Firing, ScheduleBackfill, ScheduleDetails, SchedulePreview, ScheduleSummary
from acked_client.model.states import State
from acked_client.shells.async_handles import AsyncBulkHandle, AsyncHandle
from acked_client.shells.async_schedules import AsyncScheduleHandle
from acked_client.shells.handles import BulkHandle, Handle
from acked_client.shells.schedules import ScheduleHandle

__all__ = [
    "AccessDenied",
    "Acked",
    "AckedError",
    "AsyncAcked",
    "AsyncBulkHandle",
    "AsyncHandle",
    "AsyncScheduleHandle",
    "Attempt",
    "AttentionGroup",
    "AttentionNotes",
    "AuditEntry",
    "AuditFilter",
    "Backlog",
    "Batch",
    "BulkHandle",
    "BulkPreview",
    "BulkStatus",
    "Callback",
    "CallbackEndpoint",
    "CallbackEndpointDefinition",
    "CallbackSecret",
    "Conflict",
    "Delivery",
    "DeliveryAttempt",
    "Firing",
    "Handle",
    "InvalidRequest",
    "JobCancelled",
    "JobDetails",
    "JobError",
    "JobEvent",
    "JobFailed",
    "JobFilter",
    "JobStatus",
    "JobSummary",
    "Kind",
    "KindDetails",
    "KindTotals",
    "LimitReached",
    "MadeCallbackSecret",
    "NoResponse",
    "NotFound",
    "Probe",
    "Problem",
    "ProblemError",
    "Resent",
    "Resolution",
    "ResultMismatch",
    "RetryPolicy",
    "ScheduleBackfill",
    "ScheduleDefinition",
    "ScheduleDetails",
    "ScheduleHandle",
    "SchedulePreview",
    "ScheduleSummary",
    "SentSignal",
    "Signals",
    "State",
    "Step",
    "StillRunning",
    "Submission",
    "SubmittedRow",
    "Tokens",
    "Unavailable",
    "UnexpectedResponse",
    "WindowTotals",
    "Worker",
    "problems",
]
