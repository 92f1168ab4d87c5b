"""One mongod as a plain process, with or without accounts, for tests of the accounts themselves."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from deploy.native.layout import ROOT
from deploy.native.packages import Servers
from support.stacks import eventually

KEY = "aKeyThatOnlyMembersOfThisReplicaSetHave"


@contextmanager
def running_mongod(folder: Path, port: int, *, with_accounts: bool, data: str = "data") -> Iterator[str]:
    """Run a mongod with an uninitialized replica set on the data in `folder`; yield its `name:port`."""
    servers = Servers(ROOT / ".acked" / "servers")
    servers.ensure(mongod=True, rabbitmq=False)
    place, key = folder / data, folder / "key"
    place.mkdir(exist_ok=True)
    key.unlink(missing_ok=True)
    key.write_text(KEY)
    key.chmod(0o400)
    environment = {**os.environ, **({"LD_LIBRARY_PATH": servers.library_path} if servers.library_path else {})}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [
                str(servers.mongod),
                *("--dbpath", str(place), "--port", str(port), "--bind_ip", "127.0.0.1", "--replSet", "acked"),
                *("--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "64", "--nounixsocket", "--noscripting"),
                *(("--keyFile", str(key)) if with_accounts else ()),
            ],
            env=environment,
            stdout=log,
            stderr=log,
        )
        try:
            eventually(lambda: _answers(port), within_s=30, what="mongod answers")
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def _answers(port: int) -> bool:
    with MongoClient(f"mongodb://127.0.0.1:{port}/?directConnection=true", serverSelectionTimeoutMS=1000) as client:
        try:
            return bool(client.admin.command("hello"))
        except PyMongoError:
            return False
