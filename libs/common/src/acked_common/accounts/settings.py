"""The settings of the two container steps before the services."""

from dataclasses import dataclass

from acked_common.model.numbers import whole
from acked_common.runtime.env import Env


@dataclass(frozen=True, slots=True)
class AccountsSettings:
    """Settings of the two steps."""

    log_level: str
    database: str
    replica_set: str
    """`name:port` at which the replica set's only member is reachable."""
    mongo_user: tuple[int, int]
    rabbitmq_user: tuple[int, int]


def read_settings(env: Env | None = None) -> AccountsSettings:
    """Read and validate the settings."""
    env = env or Env()
    settings = AccountsSettings(
        log_level=env.text("ACKED_LOG_LEVEL", "info").lower(),
        database=env.text("ACKED_DATABASE", "acked"),
        replica_set=env.text("ACKED_INIT_REPLICA_SET", "mongo:27017"),
        mongo_user=_ids(env, "ACKED_MONGO_USER"),
        rabbitmq_user=_ids(env, "ACKED_RABBITMQ_USER"),
    )
    env.finish()
    return settings


def _ids(env: Env, name: str) -> tuple[int, int]:
    text = env.text(name, "999:999")
    uid, _, gid = text.partition(":")
    try:
        ids = whole(uid), whole(gid)
    except ValueError:
        ids = -1, -1
    env.require(min(ids) >= 0 and max(ids) < 2**32 - 1, f"{name}={text}: must be two integers, user:group")
    return ids
