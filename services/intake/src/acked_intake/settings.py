"""Intake's settings."""

from dataclasses import dataclass

from acked_common.http.settings import HeldLimits, HttpLimits, read_held_limits, read_http_limits
from acked_common.runtime.env import Env
from acked_common.runtime.settings import CommonSettings, read_common, require_access


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """What intake needs beside the common part."""

    common: CommonSettings
    http: HttpLimits
    held: HeldLimits
    port: int
    gateway_url: str
    """Where clients find the feed, e.g. `http://localhost:8080`."""
    max_body_bytes: int
    answer_within_s: float
    waiting_jobs: int
    waiting_bytes: int
    commits_in_flight: int
    max_waiting_jobs: int
    """How many jobs may wait for workers, in all intakes together; 0: any number."""
    max_waiting_jobs_of_tenant: int


def read_settings(env: Env | None = None) -> IntakeSettings:
    """Reads and checks all of intake's settings."""
    env = env or Env()
    gateway_port = env.whole("ACKED_GATEWAY_PORT", 8080, at_least=1, at_most=65535)
    http = read_http_limits(env)
    max_body_bytes = env.whole("ACKED_MAX_BODY_BYTES", 256 * 1024, at_least=1024, at_most=8 * 2**20)
    settings = IntakeSettings(
        common=read_common(env),
        http=http,
        held=read_held_limits(env, http, largest_body=max_body_bytes),
        port=env.whole("ACKED_INTAKE_PORT", 8081, at_least=1, at_most=65535),
        gateway_url=env.http_url("ACKED_PUBLIC_GATEWAY_URL", f"http://localhost:{gateway_port}"),
        max_body_bytes=max_body_bytes,
        answer_within_s=env.seconds("ACKED_ANSWER_WITHIN_S", 1.8, at_least=0.2, at_most=60),
        waiting_jobs=env.whole("ACKED_INTAKE_WAITING_JOBS", 20_000, at_least=1),
        waiting_bytes=env.whole("ACKED_INTAKE_WAITING_BYTES", 64 * 2**20, at_least=2**20),
        max_waiting_jobs=env.whole("ACKED_MAX_WAITING_JOBS", 1_000_000, at_most=100_000_000),
        max_waiting_jobs_of_tenant=env.whole("ACKED_MAX_WAITING_JOBS_OF_TENANT", 0, at_most=100_000_000),
        commits_in_flight=env.whole("ACKED_INTAKE_COMMITS_IN_FLIGHT", 3, at_least=1, at_most=16),
    )
    require_access(env, settings.common)
    env.finish()
    return settings
