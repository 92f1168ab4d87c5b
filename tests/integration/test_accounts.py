"""The accounts of MongoDB: each service may do what it does and no more, and data without accounts is taken over."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import IndexModel, MongoClient
from pymongo.errors import OperationFailure

from acked_common.accounts.grants import MONGO, WHOLE_DATABASE, Account
from acked_common.accounts.mongo_accounts import ADMINISTRATOR, AccountsError, ensure_accounts
from acked_common.model import interventions, lifecycle
from acked_common.model.audit import KEPT_DAYS, AuditAction, AuditFilter, new_entry
from acked_common.model.bulk_actions import Abort, BulkPlan, BulkState, BulkVerb, with_end, with_page
from acked_common.model.lifecycle import Move, State
from acked_common.model.principal import LOCAL_OPERATOR
from acked_common.runtime.env import Env
from acked_common.runtime.settings import read_common
from acked_common.store.bulk_actions import Added
from acked_common.store.load_tests import LoadTestRecord
from acked_common.store.mongo import schema
from acked_common.store.mongo.replica_set import ensure_single_member
from acked_common.store.mongo.store import MongoStore
from acked_common.store.records import Applied, Insertion, JobFilter, ProgressReport, Reservation, WorkerRecord
from deploy.native.ports import free_port_base
from support.bulk import BY, chosen, ordered
from support.factories import GRACE_S, LEASE_S, RETENTION_S, kind_record, new_job, now, owner, topic
from support.ledgers import keep_and_end
from support.mongod import running_mongod

DATABASE = "acked"
WITHIN_S = 40.0
ADMIN_PASSWORD = "the administrator's / password"
PASSWORDS = {account: f"password-of:{account}@" for account in Account}
NOT_ALLOWED = 13
KIND = kind_record("demo", "demo")


def make_accounts(member: str, admin_password: str = ADMIN_PASSWORD) -> None:
    ensure_accounts(
        member,
        database=DATABASE,
        admin_password=admin_password,
        passwords=PASSWORDS,
        within_s=WITHIN_S,
        at=member,
    )


def client(member: str, name: str, password: str, database: str = DATABASE) -> "MongoClient[dict[str, Any]]":
    return MongoClient(
        f"mongodb://{member}/?directConnection=true", username=name, password=password, authSource=database
    )


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_mongod(tmp_path_factory.mktemp("mongod"), free_port_base() + 7, with_accounts=True) as started:
        make_accounts(started)
        # As on every `up`.
        make_accounts(started)
        yield started


@pytest.fixture
async def stores(member: str) -> AsyncIterator[Callable[[Account], MongoStore]]:
    opened: list[MongoStore] = []

    def store(account: Account) -> MongoStore:
        environ = {
            "ACKED_MONGO_URL": f"mongodb://{account}@{member}/?replicaSet=acked&authSource={DATABASE}",
            "ACKED_MONGO_PASSWORD": PASSWORDS[account],
        }
        opened.append(MongoStore(read_common(Env(environ)).servers.mongo_url, DATABASE, app_name="test", timeout_s=20))
        return opened[-1]

    await store(Account.INIT).ensure_schema()
    yield store
    for one in opened:
        await one.close()


async def test_init_makes_the_schema_and_registers_kinds(stores: Callable[[Account], MongoStore]) -> None:
    store = stores(Account.INIT)
    await store.ensure_schema()
    await store.register_kinds([KIND])
    await store.check_schema()
    # `token make` and `token revoke` do so.
    await notes_and_lists(store)


async def test_intake_keeps_jobs_and_sweeps(stores: Callable[[Account], MongoStore]) -> None:
    store = stores(Account.INTAKE)
    job = new_job()
    assert await store.insert([job]) == [Insertion.STORED]
    (before,) = (await store.get_many([job.id])).values()
    assert before.next_check_at is not None
    assert await store.reserve([Reservation(job.id, before.next_check_at, now())], nonce="n") == {job.id}
    await store.give_back([job.id], nonce="n", next_check_at=now())
    (seen,) = (await store.get_many([job.id])).values()
    move = Move(seen.seen, interventions.cancel(at=now(), retention_s=RETENTION_S))
    assert await store.apply([move]) == [Applied.APPLIED]
    await everything_that_all_services_read(store)
    await everything_that_both_http_services_do(store)


async def test_a_gateway_carries_out_bulk_actions(stores: Callable[[Account], MongoStore]) -> None:
    store = stores(Account.GATEWAY)
    actions, choices = store.bulk_actions(), store.choices()
    (job,) = jobs = [new_job(batch="bulk")]
    await stores(Account.INTAKE).insert(jobs)
    choice = chosen(State.QUEUED, batch="bulk")
    up_to = await choices.newest_id(job.tenant)
    assert up_to is not None
    assert (await choices.count(choice, up_to=up_to, at_most=9, within_s=9.0)).count == 1
    assert [one.id for one in (await choices.jobs_in(choice, up_to=up_to, after=None, limit=9)).jobs] == [job.id]
    assert set(await choices.jobs_of(job.tenant, [job.id])) == {job.id}
    action = ordered(BulkPlan(now(), up_to, 1), BulkVerb.CANCEL, ids=1)
    assert await actions.add(action, [job.id]) is Added.ADDED
    taken = await actions.take("owner", lease_s=60.0, but=[])
    assert taken is not None and taken.action == action
    assert (await actions.renew([action.id], owner="owner", lease_s=60.0)).keys() == {action.id}
    assert list(await actions.ids_of(action.id)) == [job.id]
    paged = with_page(action, [job.id], now())
    assert await actions.save(paged, owner="owner") == paged
    assert await actions.request_abort(action.id, Abort(BY, now()), tenant=job.tenant) is not None
    assert await actions.save(with_end(paged, BulkState.ABORTED, now()), owner="owner") is not None
    assert len((await actions.list(job.tenant, page_size=9)).actions) == 1
    await actions.give_back("owner")


async def test_a_gateway_reads_follows_and_commands(stores: Callable[[Account], MongoStore]) -> None:
    job = new_job(batch="accounts")
    await stores(Account.INTAKE).insert([job])
    store = stores(Account.GATEWAY)
    changes = store.changes()
    await changes.open()
    found = await store.get(job.id)
    assert found is not None
    assert await store.apply([Move(found.seen, interventions.cancel(at=now(), retention_s=RETENTION_S))]) == [
        Applied.APPLIED
    ]
    async with asyncio.timeout(WITHIN_S):
        while not (await changes.read()).updates:
            pass
    await changes.close()
    assert (await store.list_jobs(JobFilter(batch="accounts"), page_size=10)).jobs
    assert await store.count_batch("accounts")
    assert await store.look(topic("batch", "accounts"), limit=10)
    await store.count(topic(), at_most=10)
    assert not await store.request_drain("nobody")
    figures = LoadTestRecord("default", "load-1", now(), b"{}")
    await store.load_tests().keep(figures)
    assert await store.load_tests().find("load-1", tenant="default") is not None
    await notes_and_lists(store)
    await everything_that_all_services_read(store)
    await everything_that_both_http_services_do(store)


async def test_a_worker_runs_jobs_and_makes_itself_known(stores: Callable[[Account], MongoStore]) -> None:
    job = new_job()
    await stores(Account.INTAKE).insert([job])
    store = stores(Account.WORKER)
    await store.register_kinds([KIND])
    mine = owner()
    (claimed,) = await store.claim([job.id], kinds=["demo"], owner=mine, lease_s=LEASE_S, at=now())
    assert await store.renew([job.id], boot=mine.boot, lease_s=LEASE_S)
    await store.report_progress([ProgressReport(job.id, claimed.attempt, mine.nonce, b"{}")])
    release = lifecycle.release(at=now(), grace_s=GRACE_S, expires_in_s=60.0)
    assert await store.apply([Move(claimed.seen, release)]) == [Applied.APPLIED]
    await store.raise_watermark("demo", now())
    record = WorkerRecord(mine.boot, "w", ("demo",), 1, 0, 0, "1", now(), now())
    assert not await store.refresh_worker(record)
    await store.forget_worker(mine.boot)
    await everything_that_all_services_read(store)


async def test_a_worker_keeps_entries_in_ledgers_that_intake_ends(stores: Callable[[Account], MongoStore]) -> None:
    await keep_and_end(*(stores(account).ledgers() for account in (Account.WORKER, Account.GATEWAY, Account.INTAKE)))


async def notes_and_lists(store: MongoStore) -> None:
    entry = new_entry(LOCAL_OPERATOR, AuditAction.CANCEL, {"job": "1"}, at=now())
    await store.audit().note(entry)
    assert entry in (await store.audit().list(AuditFilter(LOCAL_OPERATOR.tenant), page_size=10)).entries


async def everything_that_both_http_services_do(store: MongoStore) -> None:
    await store.take_turn("republishing", for_s=0.1)
    assert await store.tokens().active(now()) == []
    await store.key_holder("default", "none")


async def everything_that_all_services_read(store: MongoStore) -> None:
    await store.server_time()
    await store.check_schema()
    assert await store.database_id()
    await store.kinds()
    await store.watermarks()
    await store.workers(seen_within_s=10)
    await store.revisions([])
    for state in (State.QUEUED, State.RUNNING, State.SCHEDULED):
        await store.live_jobs(state, limit=1)


Forbidden = Callable[[Any], object]
FORBIDDEN: dict[str, Forbidden] = {
    "insert a job": lambda db: db.jobs.insert_one({"_id": 1}),
    "delete a job": lambda db: db.jobs.delete_many({}),
    "put a job in by an upsert": lambda db: db.jobs.update_one({"_id": 1}, {"$set": {"a": 1}}, upsert=True),
    "overrule the validator": lambda db: db.command(
        "update", "jobs", updates=[{"q": {"_id": 1}, "u": {"$set": {"a": 1}}}], bypassDocumentValidation=True
    ),
    "follow the changes": lambda db: db.jobs.watch(max_await_time_ms=1).try_next(),
    "drop the jobs": lambda db: db.command("drop", "jobs"),
    "make an index": lambda db: db.jobs.create_index("payload"),
    "drop the indexes": lambda db: db.command("dropIndexes", "jobs", index="*"),
    "loosen the validator": lambda db: db.command("collMod", "jobs", validator={}),
    "write a kind": lambda db: db.kinds.update_one({"_id": 1}, {"$set": {"a": 1}}, upsert=True),
    "write a watermark": lambda db: db.lanes.update_one({"_id": 1}, {"$set": {"a": 1}}, upsert=True),
    "delete a watermark": lambda db: db.lanes.delete_one({}),
    "write a worker": lambda db: db.workers.update_one({"_id": 1}, {"$set": {"a": 1}}, upsert=True),
    "ask a worker to drain": lambda db: db.workers.update_one({"_id": 1}, {"$set": {"a": 1}}),
    "forget a worker": lambda db: db.workers.delete_one({"_id": 1}),
    "change the schema's version": lambda db: db.meta.update_one({"_id": "schema"}, {"$set": {"version": 0}}),
    "read tokens": lambda db: db.tokens.find_one(),
    "write a ledger": lambda db: db.ledgers.update_one({"_id": 1}, {"$set": {"a": 1}}),
    "delete a ledger": lambda db: db.ledgers.delete_many({}),
    "change a part of a ledger": lambda db: db.ledger_parts.update_one({"_id": 1}, {"$set": {"e": {}}}),
    "delete a part of a ledger": lambda db: db.ledger_parts.delete_many({}),
    "make a token": lambda db: db.tokens.insert_one({"_id": 1}),
    "make a token last": lambda db: db.tokens.update_one({"_id": 1}, {"$unset": {"expires_at": ""}}),
    "take a turn": lambda db: db.turns.update_one({"_id": 1}, {"$set": {"by": "me"}}),
    "make a collection": lambda db: db.command("create", "mine"),
    "make an account": lambda db: db.command("createUser", "me", pwd="me", roles=[]),
    "raise its own rights": lambda db: db.command("grantRolesToUser", "worker", roles=["dbOwner"]),
    "read accounts": lambda db: db.client.admin.system.users.find_one(),
    "read the log of all writes": lambda db: db.client.local["oplog.rs"].find_one(),
    "use another database": lambda db: db.client.other.mine.insert_one({}),
    "list databases' collections": lambda db: db.client.admin.list_collection_names(),
    "change the replica set": lambda db: db.client.admin.command("replSetGetConfig"),
    "stop the server": lambda db: db.client.admin.command("shutdown"),
    "list what others do": lambda db: list(db.client.admin.aggregate([{"$currentOp": {"allUsers": True}}])),
}
LEDGER_WRITES = ("write a ledger", "change a part of a ledger")
MAY = {
    Account.INIT: {
        "insert a job",
        "put a job in by an upsert",
        "make an index",
        "drop the indexes",
        "loosen the validator",
        "write a kind",
        "write a watermark",
        "write a worker",
        "ask a worker to drain",
        "change the schema's version",
        "read tokens",
        "make a token",
        "make a token last",
        "take a turn",
        "make a collection",
    },
    Account.INTAKE: {"insert a job", "put a job in by an upsert", "read tokens", "take a turn", *LEDGER_WRITES},
    Account.GATEWAY: {"follow the changes", "ask a worker to drain", "read tokens", "take a turn", *LEDGER_WRITES},
    Account.WORKER: {
        "write a ledger",
        "write a kind",
        "write a watermark",
        "write a worker",
        "ask a worker to drain",
        "forget a worker",
    },
}


AUDITED = {"_id": "entry", "client": "ada"}
CHANGES_OF_AUDIT: dict[str, Forbidden] = {
    "updateOne": lambda db: db.audit.update_one({"_id": "entry"}, {"$set": {"client": "bob"}}),
    "updateMany": lambda db: db.audit.update_many({}, {"$set": {"client": "bob"}}),
    "replaceOne": lambda db: db.audit.replace_one({"_id": "entry"}, {"client": "bob"}),
    "an upsert": lambda db: db.audit.update_one({"_id": "other"}, {"$set": {"client": "bob"}}, upsert=True),
    "deleteOne": lambda db: db.audit.delete_one({"_id": "entry"}),
    "deleteMany": lambda db: db.audit.delete_many({}),
    "findAndModify": lambda db: db.audit.find_one_and_delete({"_id": "entry"}),
    "$merge": lambda db: db.audit.aggregate([{"$set": {"client": "bob"}}, {"$merge": "audit"}]),
    "$out": lambda db: db.audit.aggregate([{"$limit": 1}, {"$out": "audit"}]),
    "$out over it": lambda db: db.kinds.aggregate([{"$limit": 1}, {"$out": "audit"}]),
    "drop": lambda db: db.command("drop", "audit"),
    "dropIndexes": lambda db: db.command("dropIndexes", "audit", index="kept"),
    "collMod": lambda db: db.command("collMod", "audit", index={"name": "kept", "expireAfterSeconds": 1}),
    "capping it": lambda db: db.command("convertToCapped", "audit", size=4096),
    "renaming it": lambda db: db.client.admin.command("renameCollection", "acked.audit", to="acked.elsewhere"),
    "putting another one there": lambda db: db.client.admin.command(
        "renameCollection", "acked.kinds", to="acked.audit", dropTarget=True
    ),
}


@pytest.mark.parametrize("account", Account)
async def test_no_account_changes_or_removes_an_entry_of_the_audit(
    member: str, stores: Callable[[Account], MongoStore], account: Account
) -> None:
    with client(member, ADMINISTRATOR, ADMIN_PASSWORD, "admin") as administrator:
        audit = administrator[DATABASE].audit
        audit.replace_one({"_id": "entry"}, AUDITED, upsert=True)
        with client(member, account.value, PASSWORDS[account]) as connected:
            for what, change in CHANGES_OF_AUDIT.items():
                with pytest.raises(OperationFailure) as refused:
                    change(connected[DATABASE])
                assert refused.value.code == NOT_ALLOWED, what
        assert audit.find_one({"_id": "entry"}) == AUDITED
        assert audit.index_information()["kept"]["expireAfterSeconds"] == KEPT_DAYS * 86_400


@pytest.mark.parametrize("account", sorted(set(Account) - {Account.INIT, Account.GATEWAY}))
async def test_only_who_acts_for_people_adds_to_the_audit(
    member: str, stores: Callable[[Account], MongoStore], account: Account
) -> None:
    with client(member, account.value, PASSWORDS[account]) as connected:
        for attempt in (lambda db: db.audit.insert_one({"_id": "forged"}), lambda db: db.audit.find_one()):
            with pytest.raises(OperationFailure) as refused:
                attempt(connected[DATABASE])
            assert refused.value.code == NOT_ALLOWED


@pytest.mark.parametrize("account", Account)
async def test_an_account_is_refused_what_its_service_does_not_do(
    member: str, stores: Callable[[Account], MongoStore], account: Account
) -> None:
    with client(member, account.value, PASSWORDS[account]) as connected:
        database = connected[DATABASE]
        assert database.command("connectionStatus")["authInfo"]["authenticatedUsers"] == [
            {"user": account.value, "db": DATABASE}
        ]
        for what, attempt in FORBIDDEN.items():
            if what not in MAY[account]:
                with pytest.raises(OperationFailure) as refused:
                    attempt(database)
                assert refused.value.code == NOT_ALLOWED, what


async def test_nobody_works_without_an_account(member: str, stores: Callable[[Account], MongoStore]) -> None:
    with MongoClient(f"mongodb://{member}/?directConnection=true") as connected:
        for what, attempt in {**FORBIDDEN, "read a job": lambda db: db.jobs.find_one()}.items():
            with pytest.raises(OperationFailure) as refused:
                attempt(connected[DATABASE])
            assert refused.value.code == NOT_ALLOWED, what


def test_every_collection_has_its_grants() -> None:
    named = {value for name, value in vars(schema).items() if name.isupper() and isinstance(value, str)}
    lists = (value for value in vars(schema).values() if isinstance(value, list))
    collections = named - {one.document["name"] for found in lists for one in found if isinstance(one, IndexModel)}
    assert {schema.JOBS, schema.META} <= collections
    for account in Account:
        assert set(MONGO[account]) - {WHOLE_DATABASE} <= collections, account
    granted = {collection for account in set(Account) - {Account.INIT} for collection in MONGO[account]}
    assert granted == collections
    # What it may write is listed, or the audit would be among it: MongoDB has no denials.
    assert not {"insert", "update", "remove", "collMod", "dropIndex"} & set(MONGO[Account.INIT][WHOLE_DATABASE])


def test_data_without_accounts_is_taken_over(tmp_path: Path) -> None:
    port = free_port_base() + 8
    with running_mongod(tmp_path, port, with_accounts=False) as member:
        ensure_single_member(member, within_s=WITHIN_S)
        with MongoClient(f"mongodb://{member}/?directConnection=true") as before:
            before[DATABASE].jobs.insert_one({"_id": "kept"})

    with running_mongod(tmp_path, port, with_accounts=True) as member:
        make_accounts(member)
        with client(member, "worker", PASSWORDS[Account.WORKER]) as worker:
            assert worker[DATABASE].jobs.find_one() == {"_id": "kept"}
        with MongoClient(f"mongodb://{member}/?directConnection=true") as nobody, pytest.raises(OperationFailure):
            nobody[DATABASE].jobs.find_one()

        with pytest.raises(AccountsError, match="a different password than the secret mongo-admin"):
            make_accounts(member, "another password")
        with client(member, ADMINISTRATOR, ADMIN_PASSWORD, "admin") as administrator:
            assert administrator[DATABASE].command("usersInfo")["users"]


async def test_a_password_changes_with_the_next_up(member: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PASSWORDS, Account.WORKER, "another password")
    make_accounts(member)
    with client(member, "worker", "another password") as worker:
        worker[DATABASE].jobs.find_one()
    monkeypatch.undo()
    make_accounts(member)
    with client(member, "worker", "another password") as worker, pytest.raises(OperationFailure):
        worker[DATABASE].jobs.find_one()
