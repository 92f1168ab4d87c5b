"""Create the MongoDB accounts: the administrator, then one role and one user per service. Idempotent.

Needs mongod's loopback interface: MongoDB lets only local connections create the first user. Data from before accounts
existed is migrated the same way.
"""

import time
from collections.abc import Mapping
from typing import Any

from pymongo import MongoClient, WriteConcern
from pymongo.errors import OperationFailure, PyMongoError

from acked_common.accounts.grants import MONGO, Account
from acked_common.store.mongo.replica_set import NAME, ReplicaSetError, make_single_member, wait_primary

ADMINISTRATOR = "acked-admin"
LOCAL = "127.0.0.1:27017"

_UNAUTHORIZED = 13
_AUTHENTICATION_FAILED = 18
_ALREADY_INITIALIZED = 23
_NOT_THERE = {11, 31}
"""Codes of UserNotFound and RoleNotFound."""

_Client = MongoClient[dict[str, Any]]


class AccountsError(Exception):
    """The accounts can't be created; the message contains the remedy."""


def ensure_accounts(
    member: str,
    *,
    database: str,
    admin_password: str,
    passwords: Mapping[Account, str],
    within_s: float,
    at: str = LOCAL,
    alone: bool = False,
) -> None:
    """Return once the member `name:port` is primary and each account has its privileges and password.

    `at` is mongod's loopback address. `alone` removes all other accounts. Raise `AccountsError`.
    """
    end = time.monotonic() + within_s
    try:
        if not _knows_administrator(at, admin_password, within_s):
            _make_administrator(at, member, admin_password, end)
        with _client(at, within_s, admin_password) as client:
            make_single_member(client, member)
            wait_primary(client, member, end)
            for account in Account:
                _ensure_account(client, database, account, passwords[account])
            if alone:
                _drop_others(client, database)
    except ReplicaSetError as error:
        raise AccountsError(str(error)) from error
    except PyMongoError as error:
        raise AccountsError(f"MongoDB accounts can't be created: {type(error).__name__}: {error}") from error


def _client(at: str, within_s: float, admin_password: str | None) -> _Client:
    """Connect to this mongod only, as the administrator or unauthenticated."""
    return MongoClient(
        f"mongodb://{at}/?directConnection=true",
        serverSelectionTimeoutMS=int(within_s * 1000),
        socketTimeoutMS=int(within_s * 1000),
        username=None if admin_password is None else ADMINISTRATOR,
        password=admin_password,
    )


def _knows_administrator(at: str, password: str, within_s: float) -> bool:
    with _client(at, within_s, password) as client:
        try:
            client.admin.command("connectionStatus")
        except OperationFailure as error:
            if error.code != _AUTHENTICATION_FAILED:
                raise
            return False
    return True


def _make_administrator(at: str, member: str, password: str, end: float) -> None:
    with _client(at, max(1.0, end - time.monotonic()), None) as client:
        try:
            client.admin.command("replSetInitiate", {"_id": NAME, "members": [{"_id": 0, "host": member}]})
        except OperationFailure as error:
            if error.code == _UNAUTHORIZED:
                raise _other_password() from None
            if error.code != _ALREADY_INITIALIZED:
                raise
            _move(client, member)
        wait_primary(client, member, end)
        try:
            client.admin.command(
                "createUser",
                ADMINISTRATOR,
                pwd=password,
                roles=["root"],
                writeConcern=WriteConcern("majority").document,
            )
        except OperationFailure as error:
            if error.code == _UNAUTHORIZED:
                raise _other_password() from None
            raise


def _move(client: _Client, member: str) -> None:
    """Rename the member for data of a version without accounts, which may come from another port.

    Does nothing if mongod already requires authentication.
    """
    try:
        make_single_member(client, member)
    except OperationFailure as error:
        if error.code != _UNAUTHORIZED:
            raise


def _drop_others(client: _Client, database: str) -> None:
    ours = {("admin", ADMINISTRATOR), *((database, account.value) for account in Account)}
    for user in client.admin.command("usersInfo", {"forAllDBs": True})["users"]:
        if (user["db"], user["user"]) not in ours:
            client[user["db"]].command("dropUser", user["user"])


def _other_password() -> AccountsError:
    return AccountsError(
        f"MongoDB's data has accounts already, and {ADMINISTRATOR} has a different password than the secret "
        "mongo-admin: restore the secrets that the data was made with, or delete the data (docker compose down "
        "--volumes, or natively the folder data/mongo)"
    )


def _ensure_account(client: _Client, database: str, account: Account, password: str) -> None:
    place = client.get_database(database, write_concern=WriteConcern("majority"))
    role = {
        "privileges": [
            {"resource": {"db": database, "collection": collection}, "actions": list(actions)}
            for collection, actions in MONGO[account].items()
        ],
        "roles": [],
    }
    user = {"pwd": password, "roles": [{"role": account.value, "db": database}]}
    for noun, fields in (("Role", role), ("User", user)):
        try:
            place.command(f"update{noun}", account.value, **fields)
        except OperationFailure as error:
            if error.code not in _NOT_THERE:
                raise
            place.command(f"create{noun}", account.value, **fields)
