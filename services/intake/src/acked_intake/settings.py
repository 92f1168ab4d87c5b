"""Intake's settings."""

from dataclasses import dataclass

from acked_common.http.settings import HeldLimits, HttpLimits, read_held_limits, read_http_limits
from acked_common.runtime.env import Env
from acked_common.runtime.settings import CommonSettings, read_common, require_access, service_url


@dataclass(frozen=True, slots=True)
class CommitLimits:
    """The limits of requests that wait for a group commit, and their deadline."""

    waiting_jobs: int = 20_000
    waiting_bytes: int = 64 * 2**20
    commits_in_flight: int = 3
    answer_within_s: float = 1.8


@dataclass(frozen=True, slots=True)
class Quotas:
    """The maximum of jobs that wait for workers, and of parked jobs of a tenant, over all intakes; 0: unlimited."""

    in_all: int
    of_tenant: int
    parked_of_tenant: int = 0


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """The settings of intake."""

    common: CommonSettings
    http: HttpLimits
    held: HeldLimits
    port: int
    gateway_url: str
    """The gateway's URL for clients, e.g. `http://localhost:8080`."""
    max_body_bytes: int
    commit: CommitLimits
    quotas: Quotas


def read_settings(env: Env | None = None) -> IntakeSettings:
    """Read and validate all settings of intake."""
    env, usual = env or Env(), CommitLimits()
    gateway_port = env.whole("ACKED_GATEWAY_PORT", 8080, at_least=1, at_most=65535)
    http = read_http_limits(env)
    max_body_bytes = env.whole("ACKED_MAX_BODY_BYTES", 256 * 1024, at_least=1024, at_most=8 * 2**20)
    settings = IntakeSettings(
        common=read_common(env),
        http=http,
        held=read_held_limits(env, http, largest_body=max_body_bytes),
        port=env.whole("ACKED_INTAKE_PORT", 8081, at_least=1, at_most=65535),
        gateway_url=service_url(env, "ACKED_PUBLIC_GATEWAY_URL", f"http://localhost:{gateway_port}"),
        max_body_bytes=max_body_bytes,
        commit=CommitLimits(
            waiting_jobs=env.whole("ACKED_INTAKE_WAITING_JOBS", usual.waiting_jobs, at_least=1),
            waiting_bytes=env.whole("ACKED_INTAKE_WAITING_BYTES", usual.waiting_bytes, at_least=2**20),
            commits_in_flight=env.whole(
                "ACKED_INTAKE_COMMITS_IN_FLIGHT", usual.commits_in_flight, at_least=1, at_most=16
            ),
            answer_within_s=env.seconds("ACKED_ANSWER_WITHIN_S", usual.answer_within_s, at_least=0.2, at_most=60),
        ),
        quotas=Quotas(
            in_all=env.whole("ACKED_MAX_WAITING_JOBS", 1_000_000, at_most=100_000_000),
            of_tenant=env.whole("ACKED_MAX_WAITING_JOBS_OF_TENANT", 0, at_most=100_000_000),
            parked_of_tenant=env.whole("ACKED_MAX_PARKED_JOBS", 10_000_000, at_most=100_000_000),
        ),
    )
    require_access(env, settings.common)
    env.finish()
    return settings
