"""The structs of the client against the OpenAPI documents: the same fields, and the same of them always there."""

from typing import Any, get_args

import msgspec
import pytest

from acked_client.core import bulk
from acked_client.core.failures import problem_of
from acked_client.core.frames import Event, Frame, SnapshotJob
from acked_client.core.jobs import submit_request
from acked_client.model import callbacks, errors, figures, jobs, lists, operating, schedules
from acked_client.model.requests import (
    AuditFilter,
    Callback,
    CallbackEndpointDefinition,
    JobFilter,
    Overlap,
    Resolution,
    ScheduleDefinition,
    Submission,
)
from acked_client.model.states import ENDED, State
from acked_common.model import lifecycle
from acked_common.model import schedules as model
from acked_common.runtime.env import Env
from acked_gateway import app as gateway
from acked_gateway.settings import read_settings as read_gateway_settings
from acked_intake import app as intake
from acked_intake.settings import read_settings as read_intake_settings
from support.asgi import call
from support.client_flows import ACCEPTED, refused

OF_SCHEMAS: dict[str, type[msgspec.Struct]] = {
    "Accepted": jobs.Accepted,
    "AcceptedLinks": jobs.AcceptedLinks,
    "AttemptError": jobs.AttemptError,
    "AttemptLine": jobs.Attempt,
    "AuditLine": operating.AuditEntry,
    "Backlog": figures.Backlog,
    "Batch": lists.Batch,
    "BulkActionStatus": lists.BulkStatus,
    "BulkBy": lists.BulkBy,
    "BulkExample": lists.BulkExample,
    "BulkPreview": lists.BulkPreview,
    "By": jobs.By,
    "DeliveryAttempt": callbacks.DeliveryAttempt,
    "DeliveryOf": callbacks.Delivery,
    "DeliveryResponse": callbacks.DeliveryResponse,
    "Draining": operating.Draining,
    "EndpointDisabled": callbacks.EndpointDisabled,
    "EndpointOf": callbacks.CallbackEndpoint,
    "ErrorAt": errors.ErrorAt,
    "ExampleError": lists.ExampleError,
    "Group": lists.AttentionGroup,
    "HistoryLine": jobs.HistoryLine,
    "JobError": jobs.JobError,
    "JobStatus": jobs.JobStatus,
    "JobSummary": jobs.JobSummary,
    "JobWithPayload": operating.JobDetails,
    "KeptStep": jobs.Step,
    "Kind": lists.Kind,
    "KindBacklog": operating.KindBacklog,
    "KindDetails": operating.KindDetails,
    "KindTotals": figures.KindTotals,
    "LimitUsed": operating.LimitUse,
    "Limited": lists.Limited,
    "ListedBatch": operating.ListedBatch,
    "MadeSecret": callbacks.MadeCallbackSecret,
    "NewestStep": operating.NewestStep,
    "Notes": lists.AttentionNotes,
    "OwnToken": operating.OwnToken,
    "Paused": lists.Paused,
    "PausedOnce": operating.PastPause,
    "PreviewedInstant": schedules.PreviewedInstant,
    "Progress": jobs.Progress,
    "Ready": operating.Readiness,
    "RefusedJob": lists.RefusedJob,
    "Resent": callbacks.Resent,
    "ScheduleBackfill": schedules.ScheduleBackfill,
    "ScheduleDetails": schedules.ScheduleDetails,
    "ScheduleFiring": schedules.Firing,
    "SchedulePaused": schedules.SchedulePaused,
    "SchedulePreview": schedules.SchedulePreview,
    "ScheduleSummary": schedules.ScheduleSummary,
    "Secret": callbacks.CallbackSecret,
    "SentSignal": jobs.SentSignal,
    "ServedSchema": operating.ServedSchema,
    "SignalList": operating.Signals,
    "StepError": jobs.StepError,
    "StepsOf": operating.StepCounts,
    "TakenSignal": operating.TakenSignal,
    "Token": operating.ListedToken,
    "Tokens": operating.Tokens,
    "UnreadSignal": operating.UnreadSignal,
    "CallbackOf": jobs.CallbackStatus,
    "WindowTotals": figures.WindowTotals,
    "WaitsOf": jobs.Waits,
    "Worker": operating.Worker,
    "WorkersJob": operating.RunningJob,
}
AUDIT_PARAMETERS = {"action", "client", "job", "bulk_action", "kind", "since", "until"}
"""Those of `GET /audit`, but for the page."""
LEFT_OUT = {"Batch.load_test": "the figures of the load test are for its page"}
"""Fields of the documents that the client does not show, and why."""
PAGES = {
    "JobList": ("jobs", "next_page_token"),
    "StepList": ("steps", "next_page_token"),
    "Attention": ("groups", "next_page_token"),
    "Kinds": ("kinds",),
    "Workers": ("workers",),
    "AuditList": ("entries", "next_page_token"),
    "BatchList": ("batches", "next_page_token"),
    "BulkActionList": ("bulk_actions", "next_page_token"),
    "ScheduleList": ("schedules", "next_page_token"),
    "FiringList": ("firings",),
    "DeliveryPage": ("deliveries", "next_page_token"),
    "Secrets": ("secrets",),
    "Endpoints": ("endpoints",),
}
"""Lists are read by the names of their members."""


@pytest.fixture
async def schemas() -> dict[str, Any]:
    found: dict[str, Any] = {}
    applications = (
        gateway.create_app(read_gateway_settings(Env({}))),
        intake.create_app(read_intake_settings(Env({}))),
    )
    for application in applications:
        found |= (await call(application, "GET", "/openapi.json")).json["components"]["schemas"]
    return found


async def test_structs_have_the_fields_of_the_document(schemas: dict[str, Any]) -> None:
    for name, struct in OF_SCHEMAS.items():
        described = {field for field in schemas[name]["properties"] if f"{name}.{field}" not in LEFT_OUT}
        assert described == set(struct.__struct_encode_fields__), name
        always = {field.encode_name for field in msgspec.structs.fields(struct) if field.required}
        assert always == set(schemas[name].get("required", ())) - {field.split(".")[1] for field in LEFT_OUT}, name
    assert all(field.split(".")[1] in schemas[field.split(".")[0]]["properties"] for field in LEFT_OUT)


async def test_each_struct_of_a_response_is_described(schemas: dict[str, Any]) -> None:
    own = {
        found
        for module in (callbacks, figures, jobs, lists, operating, schedules)
        for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, msgspec.Struct) and found.__module__ == module.__name__
    }
    # The feed is no part of OpenAPI, and a probe is what several responses say.
    assert own - {jobs.JobEvent, operating.Probe} == set(OF_SCHEMAS.values()) - {errors.ErrorAt}
    for name, members in PAGES.items():
        assert set(members) <= schemas[name]["properties"].keys()


async def test_requests_have_the_fields_of_the_document(schemas: dict[str, Any]) -> None:
    every = Submission(
        kind="k",
        payload=1,
        batch="b",
        tags=("t",),
        delay_s=1,
        max_attempts=1,
        timeout_s=1,
        expires_in_s=1,
        callback=Callback(url="https://hooks.example/x", events=("job.failed",)),
    )
    body = submit_request(every, lambda: "key").body
    assert body is not None
    # Only the gateway sets `edited_from`.
    sent = msgspec.json.decode(body)
    assert sent.keys() == schemas["ProcessRequest"]["properties"].keys() - {"edited_from"}
    assert sent["callback"].keys() == schemas["CallbackRequest"]["properties"].keys()
    endpoint = CallbackEndpointDefinition(
        url="https://hooks.example/x", events=("job.failed",), kinds=("k",), headers={"a": "b"}, enabled=True
    )
    assert endpoint.members().keys() == schemas["EndpointRequest"]["properties"].keys()
    schedule = ScheduleDefinition(
        kind="k",
        cron="@daily",
        every_s=1,
        timezone="UTC",
        from_at="2026-01-01T00:00:00Z",
        until_at="2027-01-01T00:00:00Z",
        payload=1,
        tags=("t",),
        batch="b",
        overlap="all",
        catch_up_s=10,
        jitter_s=1,
        paused=False,
    )
    assert schedule.members().keys() | {"kind"} == schemas["ScheduleRequest"]["properties"].keys()
    assert set(get_args(Overlap)) == set(model.Overlap)
    where = JobFilter(
        state="failed", kind="k", batch="b", tag="t", error_group="g", waiting_for="sleep", since="1h", until="1m"
    )
    assert where.members().keys() == schemas["BulkFilter"]["properties"].keys()
    resolution = Resolution(state="failed", result=1, note="n")
    assert resolution.members().keys() == schemas["Resolve"]["properties"].keys()
    assert resolution.members().keys() == schemas["BulkResolve"]["properties"].keys()
    request = bulk.BulkRequest(action="resolve", where=where, plan="p", rate_per_s=1, reason="r", resolution=resolution)
    known = schemas["BulkRequest"]["properties"].keys()
    assert request.members(dry_run=True).keys() == known - {"ids"}
    every_entry = AuditFilter(action="a", client="c", job="j", bulk_action="b", kind="k", since="1h", until="1m")
    assert every_entry.members().keys() == AUDIT_PARAMETERS
    by_ids = bulk.BulkRequest(action="retry", where=["x"])
    assert by_ids.members(dry_run=False).keys() <= known


def test_states_are_those_of_the_services() -> None:
    assert {state.value for state in State} == {state.value for state in lifecycle.State}
    assert {state.value for state in ENDED} == {state.value for state in lifecycle.State if state.is_terminal}


def test_members_of_a_newer_server_are_ignored() -> None:
    body = ACCEPTED | {"state": "brand-new", "new": 1, "links": ACCEPTED["links"] | {"new": 2}}
    text = msgspec.json.encode(body)
    assert msgspec.json.decode(text, type=jobs.Accepted).state == "brand-new"
    for struct in (*OF_SCHEMAS.values(), Frame, Event, SnapshotJob):
        assert not struct.__struct_config__.forbid_unknown_fields


def test_problem_documents_are_read() -> None:
    problem = problem_of(refused("busy", 503, limit="requests"))
    assert problem is not None and (problem.name, problem.members) == ("busy", {"limit": "requests"})
