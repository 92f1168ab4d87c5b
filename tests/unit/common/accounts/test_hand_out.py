"""Who gets which secret, and what RabbitMQ is told of the accounts."""

import base64
import hashlib
import json
import re
import stat
from pathlib import Path

import pytest

from acked_common.accounts.grants import RABBIT, Account
from acked_common.accounts.hand_out import (
    SECRETS,
    SERVICE_USER,
    HandOutError,
    Receiver,
    development_secrets,
    give_folder,
    hand_out,
    read_secrets,
    receivers,
)
from acked_common.accounts.rabbit_definitions import OWNER, definitions, password_hash
from acked_common.broker.rabbitmq.topology import COMMANDS_EXCHANGE, DEAD_QUEUE, lane_queue

ALL = {name: f"secret-of-{name}" for name in SECRETS}
MONGO_USER, RABBITMQ_USER = (999, 999), (998, 997)


class Owners:
    """Takes the place of `os.chown`, which only root may."""

    def __init__(self) -> None:
        self.of: dict[str, tuple[int, int]] = {}

    def __call__(self, path: Path, uid: int, gid: int) -> None:
        self.of[path.name] = uid, gid


def test_each_container_gets_what_it_needs_and_no_more() -> None:
    found = receivers(ALL, MONGO_USER, RABBITMQ_USER)
    secrets = {name: {value for value in to.files.values() if value in ALL.values()} for name, to in found.items()}
    assert secrets == {
        "mongo": {"secret-of-mongo-key"},
        "rabbitmq": set(),
        "accounts": {f"secret-of-mongo-{name}" for name in ("admin", *Account)},
        "init": {"secret-of-mongo-init", "secret-of-amqp-init"},
        "intake": {"secret-of-mongo-intake", "secret-of-amqp-intake"},
        "gateway": {"secret-of-mongo-gateway", "secret-of-amqp-gateway", "secret-of-worker"},
        "worker": {"secret-of-mongo-worker", "secret-of-amqp-worker", "secret-of-worker"},
    }
    assert "secret-of" not in "".join(found["rabbitmq"].files.values())
    users = {name: to.user for name, to in found.items()}
    assert (users.pop("mongo"), users.pop("rabbitmq")) == (MONGO_USER, RABBITMQ_USER)
    assert set(users.values()) == {SERVICE_USER}


def test_files_are_for_the_receiver_alone(tmp_path: Path) -> None:
    owners = Owners()
    (tmp_path / "of-an-earlier-version").write_text("x")
    for text in ("first", "second"):
        hand_out(Receiver({"mongo": text, "amqp": "b"}, (10, 20)), tmp_path, owners)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"mongo": "second", "amqp": "b"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o400}
    assert set(owners.of.values()) == {(10, 20)}


def test_a_data_folder_of_another_user_is_given_whole_and_the_folder_last(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "file").touch()
    (tmp_path / "link").symlink_to("/")
    owners = Owners()
    mine = tmp_path.stat().st_uid
    assert not give_folder(tmp_path, (mine, 1), owners)
    assert owners.of == {}
    assert give_folder(tmp_path, (mine + 1, 1), owners)
    assert set(owners.of) == {"deep", "er", "file", tmp_path.name}
    assert list(owners.of)[-1] == tmp_path.name


def test_a_missing_secret_is_named(tmp_path: Path) -> None:
    for name, value in ALL.items():
        (tmp_path / name).write_text(f"{value}\n")
    assert read_secrets(tmp_path) == ALL
    (tmp_path / "amqp-init").write_text("\n")
    with pytest.raises(HandOutError, match="the secret amqp-init is empty"):
        read_secrets(tmp_path)
    (tmp_path / "amqp-init").unlink()
    with pytest.raises(HandOutError, match="the secret amqp-init can't be read"):
        read_secrets(tmp_path)


def test_secrets_of_the_repository_are_named() -> None:
    assert development_secrets({**ALL, "worker": "acked-development-worker"}) == ["worker"]


def test_definitions_have_every_account_and_no_guest() -> None:
    found = json.loads(definitions({account: f"password of {account}" for account in Account}))
    assert {user["name"] for user in found["users"]} == {*(account.value for account in Account), OWNER}
    assert all(user["tags"] == [] for user in found["users"])
    rights = {p["user"]: (p["configure"], p["write"], p["read"]) for p in found["permissions"]}
    assert rights.pop(OWNER) == ("^$", "^$", "^$")
    assert rights == {a.value: (RABBIT[a].configure, RABBIT[a].write, RABBIT[a].read) for a in Account}
    assert "password of" not in json.dumps(found)


def test_owner_of_a_native_stack_has_every_right() -> None:
    found = json.loads(definitions(dict.fromkeys(Account, "x" * 20), "the owner's password"))
    rights = {p["user"]: (p["configure"], p["write"], p["read"]) for p in found["permissions"]}
    assert rights[OWNER] == (".*", ".*", ".*")
    [owner] = [user for user in found["users"] if user["name"] == OWNER]
    assert len(base64.b64decode(owner["password_hash"])) == 36


def test_a_password_hash_is_as_rabbitmq_makes_it() -> None:
    # The example of RabbitMQ's own documentation on passwords.
    assert password_hash("test12", bytes.fromhex("908DC60A")) == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"
    first, second = (base64.b64decode(password_hash("x")) for _ in range(2))
    assert first[:4] != second[:4]
    assert first[4:] == hashlib.sha256(first[:4] + b"x").digest()


LANE, OWN_QUEUE = lane_queue("any kind"), "amq.gen-JzTY20BRgKO"
NAMES = (LANE, DEAD_QUEUE, COMMANDS_EXCHANGE, OWN_QUEUE, "amq.default", "elsewhere", f"x{LANE}", f"{DEAD_QUEUE}x")
MAY = {
    Account.INIT: ({LANE, DEAD_QUEUE}, {"amq.default"}, {LANE}),
    Account.INTAKE: (set(), {"amq.default"}, set()),
    Account.GATEWAY: (
        {COMMANDS_EXCHANGE, OWN_QUEUE},
        {"amq.default", COMMANDS_EXCHANGE, OWN_QUEUE},
        {COMMANDS_EXCHANGE, OWN_QUEUE},
    ),
    Account.WORKER: ({LANE, DEAD_QUEUE}, {"amq.default"}, {LANE}),
}


@pytest.mark.parametrize("account", Account)
def test_rights_on_queues_match_these_names_alone(account: Account) -> None:
    rights = RABBIT[account]
    found = tuple(
        {name for name in NAMES if re.search(pattern, name)}
        for pattern in (rights.configure, rights.write, rights.read)
    )
    assert found == MAY[account]
