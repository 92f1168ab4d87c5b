"""Composition root of intake."""

from starlette.applications import Starlette

from acked_common.api.readiness import Readiness
from acked_common.api.routes import ApiRoute
from acked_common.background.payload_check import PayloadCheck
from acked_common.background.schema_cache import SchemaCache
from acked_common.http.not_found import OF_GATEWAY
from acked_common.http.request_metrics import begin_at_zero
from acked_common.http.server.serve import held_within_files
from acked_common.runtime.lifetime import Tasks
from acked_common.service import ServiceCore
from acked_intake.accept.acceptance import Acceptance, Admission
from acked_intake.accept.callback_deliveries import DeliveryInserter
from acked_intake.accept.endpoint_cache import EndpointCache
from acked_intake.accept.group_commit import GroupCommit
from acked_intake.accept.keyed_commit import KeyedCommit
from acked_intake.accept.quota_counter import QuotaCounter
from acked_intake.fire.firer import Firer, FiringAdmission
from acked_intake.request.operations import ABOUT, PROCESS
from acked_intake.request.routes import PROCESS_PATH, ProcessEndpoint
from acked_intake.settings import IntakeSettings

# The share of the response deadline for calls to the store; the rest is for the work around them.
STORE_SHARE = 0.65


def create_app(settings: IntakeSettings) -> Starlette:
    """Return the ASGI application; its lifespan starts and stops every part."""
    core = ServiceCore(
        settings.common,
        name="acked-intake",
        store_timeout_s=settings.commit.answer_within_s * STORE_SHARE,
        held=held_within_files(settings.held, settings.http),
    )
    commit = GroupCommit(core.writer, settings.commit)
    keyed_commit = KeyedCommit(commit, core.store, answer_within_s=settings.commit.answer_within_s)
    quota = QuotaCounter(core.store, settings.quotas)
    schemas = SchemaCache(core.kinds, core.workers, core.clock.monotonic)
    endpoints = EndpointCache(core.store.callback_endpoints(), core.clock.monotonic)
    admission = Admission(quota, PayloadCheck(schemas), endpoints)
    acceptance = Acceptance(
        commit, keyed_commit, core.store, core.kinds, core.monitor, core.clock, settings.common.times, admission
    )
    firer = Firer(
        core.store.schedules(),
        core.store,
        core.writer,
        FiringAdmission(core.kinds, admission.payloads, quota, endpoints),
        core.clock,
        settings.common.times,
    )
    core.add_loops(quota.start)
    core.add_loops(lambda tasks: tasks.spawn(_fire_when_ready(core, firer, tasks), "start of the schedules"))
    core.add_loops(schemas.start)
    core.add_loops(endpoints.start)
    core.add_loops(
        DeliveryInserter(
            core.store, core.store.callback_endpoints(), core.writer, core.clock, settings.common.times
        ).start
    )
    core.lifetime.add("group commit", stop=commit.stop, stop_within_s=4.0)
    core.lifetime.add("keyed commit", stop=keyed_commit.stop, stop_within_s=4.0)

    begin_at_zero(PROCESS_PATH, 202, 503)

    def readiness() -> Readiness:
        return Readiness(
            {"mongodb": core.monitor.problem, "kinds": None if core.kinds.was_read else "not read yet"},
            {"rabbitmq": None if core.publisher.is_open else "not connected; jobs are published later"},
        )

    return core.application(
        [ApiRoute(ProcessEndpoint(acceptance, settings), PROCESS)],
        about=ABOUT,
        readiness=readiness,
        hot=frozenset({PROCESS_PATH}),
        others=dict.fromkeys(OF_GATEWAY, settings.gateway_url),
    )


async def _fire_when_ready(core: ServiceCore, firer: Firer, tasks: Tasks) -> None:
    """Fire schedules once MongoDB's time and the kinds are known."""
    await core.monitor.wait_measured()
    await core.kinds.wait_read()
    firer.start(tasks)
