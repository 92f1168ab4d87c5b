"""OWNER of the names of all settings: known `ACKED_*` variables, and suggestions for unknown ones. Pure.

Kubernetes puts variables of its own into every container: of a Service `acked-gateway` it makes
`ACKED_GATEWAY_PORT=tcp://10.0.0.7:8080` and six more. Those are no settings, also where the name is that of one.
"""

import difflib
import re
from collections.abc import Iterable, Mapping

PREFIX = "ACKED_"

SECRETS = ("ACKED_MONGO_PASSWORD", "ACKED_AMQP_PASSWORD", "ACKED_WORKER_SECRET")
"""Each has a second name, with `_FILE` at its end, for a file that holds it."""

SERVICES = frozenset(
    {
        *SECRETS,
        *(f"{name}_FILE" for name in SECRETS),
        *("ACKED_MONGO_URL", "ACKED_AMQP_URL", "ACKED_DATABASE"),
        *("ACKED_HOST", "ACKED_GATEWAY_PORT", "ACKED_INTAKE_PORT", "ACKED_HEALTH_PORT", "ACKED_HEALTH_HOST"),
        *("ACKED_METRICS_PORT", "ACKED_METRICS_HOST"),
        *("ACKED_ACCESS", "ACKED_PUBLISHED_ON_LOOPBACK", "ACKED_PUBLISH_ADDRESS"),
        *("ACKED_ALLOWED_HOSTS", "ACKED_ALLOWED_ORIGINS"),
        *("ACKED_LOG_LEVEL", "ACKED_LEASE_S", "ACKED_RENEWAL_S", "ACKED_SWEEP_TICK_S", "ACKED_GRACE_S"),
        *("ACKED_REPUBLISH_AFTER_S", "ACKED_EXPIRES_IN_S", "ACKED_RETENTION_S"),
        *("ACKED_MAX_CONNECTIONS", "ACKED_FIRST_BYTE_TIMEOUT_S", "ACKED_HEAD_TIMEOUT_S", "ACKED_BODY_TIMEOUT_S"),
        *("ACKED_IDLE_TIMEOUT_S", "ACKED_RATE_PER_S", "ACKED_RATE_BURST"),
        *("ACKED_PUBLIC_GATEWAY_URL", "ACKED_MAX_BODY_BYTES", "ACKED_ANSWER_WITHIN_S", "ACKED_INTAKE_WAITING_JOBS"),
        *("ACKED_INTAKE_WAITING_BYTES", "ACKED_INTAKE_COMMITS_IN_FLIGHT"),
        *("ACKED_MAX_WAITING_JOBS", "ACKED_MAX_WAITING_JOBS_OF_TENANT", "ACKED_MAX_PARKED_JOBS"),
        *("ACKED_INTAKE_URL", "ACKED_PUBLIC_INTAKE_URL", "ACKED_LOAD_TEST_CONNECTIONS"),
        *("ACKED_FEED_CLIENTS", "ACKED_FEEDS_PER_CLIENT", "ACKED_REQUESTS_PER_CLIENT"),
        *("ACKED_LONG_POLLS", "ACKED_LONG_POLLS_PER_CLIENT", "ACKED_HELD_BYTES", "ACKED_HELD_BYTES_PER_CLIENT"),
        *("ACKED_READS", "ACKED_READS_PER_CLIENT", "ACKED_LOAD_TESTS", "ACKED_LOAD_TESTS_PER_CLIENT"),
        *("ACKED_LOAD_TEST_CALLS", "ACKED_LOAD_TEST_CALLS_PER_CLIENT", "ACKED_FEED_IDS", "ACKED_FEED_IDS_PER_CLIENT"),
        *("ACKED_FEED_SUBSCRIPTIONS", "ACKED_FEED_SUBSCRIPTIONS_PER_CLIENT"),
        *("ACKED_WORKER_NAME", "ACKED_WORKER_SLOTS", "ACKED_WORKER_THREADS", "ACKED_WORKER_SUSPECTS"),
        *("ACKED_HANDLER_MODULES", "ACKED_HANDLERS_DIR", "ACKED_HTTP_CALL_ALLOW"),
        "ACKED_CALLBACK_RETRIES_S",
        *("ACKED_DRAIN_S", "ACKED_HOLD_S", "ACKED_WATCHDOG_S", "ACKED_HANDLER_STUCK_S", "ACKED_GATEWAY_URL"),
        "ACKED_OUTPUT_BYTES_PER_S",
        *("ACKED_INIT_REPLICA_SET", "ACKED_RUN_FILE", "ACKED_RUN_DIR", "ACKED_CRASH"),
    }
)
"""What services read, and the steps before them."""

STACK = frozenset({"ACKED_PORT_BASE", "ACKED_STATE_DIR", "ACKED_RUNTIME", "ACKED_RESTART_AHEAD"})
"""What recipes read in both runtimes."""

CONTAINERS = frozenset(
    {
        *("ACKED_MONGO_IMAGE", "ACKED_RABBITMQ_IMAGE", "ACKED_PYTHON_IMAGE", "ACKED_PROXY_IMAGE"),
        *("ACKED_MONGO_USER", "ACKED_RABBITMQ_USER", "ACKED_SECRETS_DIR", "ACKED_VERSION", "ACKED_MONGO_CACHE_GB"),
        *("ACKED_MONGO_MEMORY", "ACKED_RABBITMQ_MEMORY", "ACKED_SERVICE_MEMORY", "ACKED_WORKER_MEMORY"),
        *("ACKED_CA_BUNDLE", "ACKED_PIP_CONFIG", "ACKED_BUILD_NETWORK"),
    }
)
"""What Compose and the recipes for it read."""

CLIENTS = frozenset({"ACKED_TOKEN", "ACKED_TOKEN_FILE", "ACKED_GATEWAY", "ACKED_INTAKE"})
"""What the client library and the command line read; services and recipes ignore them."""

TESTS = frozenset(
    {
        *("ACKED_TEST_MONGO_URL", "ACKED_TEST_AMQP_URL", "ACKED_TEST_ROUNDS", "ACKED_TEST_BACKLOG", "ACKED_TEST_NONCE"),
        *("ACKED_TEST_FAULT_RESULTS", "ACKED_TEST_TRAFFIC", "ACKED_TEST_UPGRADE_FROM", "ACKED_SIM_SEED"),
    }
)
INTERNAL = frozenset({"ACKED_STACK", "ACKED_ERLANG_ROOT", "ACKED_SECRETS_MARK"})
"""Settings that recipes pass to the processes that they start."""

KNOWN = SERVICES | STACK | CONTAINERS | CLIENTS | TESTS | INTERNAL

_OF_KUBERNETES = re.compile(
    r"ACKED_(?:[A-Z0-9_]+_)?(?:SERVICE_(?:HOST|PORT(?:_[A-Z0-9_]+)?)|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_PORT_OF_KUBERNETES = re.compile(r"ACKED_(?:[A-Z0-9_]+_)?PORT")
_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://")


def is_of_kubernetes(name: str, value: str) -> bool:
    """Return whether Kubernetes derived this variable from a Service."""
    if _OF_KUBERNETES.fullmatch(name):
        return name not in KNOWN
    return _PORT_OF_KUBERNETES.fullmatch(name) is not None and _ADDRESS.match(value) is not None


def unknown_settings(environ: Mapping[str, str]) -> list[str]:
    """Return a line for each unknown `ACKED_*` variable, with the nearest known name."""
    return [
        unknown_setting(name)
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in KNOWN and not is_of_kubernetes(name, environ[name])
    ]


def unknown_setting(name: str, known: Iterable[str] = KNOWN) -> str:
    """Return the problem of an unknown name."""
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.75)
    return f"{name}is not a setting" + (
        f": did you mean {near[0]}?" if near else "; docs/settings.md lists all of them"
    )
