"""Configure a mongod as a replica set of one member, for a native stack."""

import time
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

NAME = "acked"
NOT_YET_INITIALIZED = 94
POLL_S = 0.05


class ReplicaSetError(Exception):
    """The member did not become primary."""


def ensure_single_member(host: str, *, within_s: float) -> None:
    """Make the member primary under this `name:port`, which may differ from that of an earlier start. Idempotent.
    Raises `ReplicaSetError`."""
    end = time.monotonic() + within_s
    client: MongoClient[dict[str, Any]] = MongoClient(
        f"mongodb://{host}/?directConnection=true", serverSelectionTimeoutMS=int(within_s * 1000)
    )
    try:
        make_single_member(client, host)
        wait_primary(client, host, end)
    except PyMongoError as error:
        raise ReplicaSetError(f"{host} can't be made a replica set: {type(error).__name__}: {error}") from error
    finally:
        client.close()


def make_single_member(client: "MongoClient[dict[str, Any]]", host: str) -> None:
    """Configure the member that the client is connected to under this `name:port`."""
    wanted = [{"_id": 0, "host": host}]
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure as error:
        if error.code != NOT_YET_INITIALIZED:
            raise
        client.admin.command("replSetInitiate", {"_id": NAME, "members": wanted})
        return
    if config["members"][0]["host"] != host:
        config["members"] = wanted
        config["version"] += 1
        client.admin.command("replSetReconfig", config, force=True)


def wait_primary(client: "MongoClient[dict[str, Any]]", host: str, end: float) -> None:
    """Wait until the member is primary. Raises `ReplicaSetError` at `end`, on the monotonic clock."""
    while not client.admin.command("hello").get("isWritablePrimary"):
        if time.monotonic() > end:
            raise ReplicaSetError(f"{host} has not become primary in time")
        time.sleep(POLL_S)
