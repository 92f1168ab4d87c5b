"""Makes the private mongod a replica set of one member: `python -m deploy.native.replica_set <port>`. Idempotent."""

import sys
import time

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

NOT_YET_INITIALIZED = 94
WITHIN_S = 40.0


def ensure(port: int) -> None:
    """Returns when the member is primary; a data folder that served on another port is told of the new one."""
    host = f"127.0.0.1:{port}"
    client: MongoClient[dict[str, object]] = MongoClient(
        f"mongodb://{host}/?directConnection=true", serverSelectionTimeoutMS=20_000
    )
    try:
        wanted = [{"_id": 0, "host": host}]
        try:
            config = client.admin.command("replSetGetConfig")["config"]
            if config["members"][0]["host"] != host:
                config["members"] = wanted
                config["version"] += 1
                client.admin.command("replSetReconfig", config, force=True)
        except OperationFailure as error:
            if error.code != NOT_YET_INITIALIZED:
                raise
            client.admin.command("replSetInitiate", {"_id": "acked", "members": wanted})
        end = time.monotonic() + WITHIN_S
        while not client.admin.command("hello").get("isWritablePrimary"):
            if time.monotonic() > end:
                raise SystemExit(f"{host} has not become primary within {WITHIN_S:g} s")
            time.sleep(0.05)
    finally:
        client.close()


if __name__ == "__main__":
    try:
        ensure(int(sys.argv[1]))
    except PyMongoError as failure:
        raise SystemExit(f"{type(failure).__name__}: {failure}") from None
