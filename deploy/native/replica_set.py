"""Makes the private mongod a replica set of one member: `python -m deploy.native.replica_set <port>`. Idempotent."""

import sys

from acked_common.store.replica_set import ReplicaSetError, ensure_single_member

WITHIN_S = 40.0

if __name__ == "__main__":
    try:
        ensure_single_member(f"127.0.0.1:{int(sys.argv[1])}", within_s=WITHIN_S)
    except ReplicaSetError as failure:
        raise SystemExit(str(failure)) from None
