"""Containers: what each may do, whom it reaches, and what it knows. What MongoDB's accounts may do in all is in
tests/integration/test_accounts.py."""

import json
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from acked_common.accounts.hand_out import SECRETS
from acked_common.model.lifecycle import State
from deploy.docker.project import ContainersError
from deploy.native.layout import ROOT
from support.compose import ComposeStack, docker, running_compose_stack
from support.stacks import eventually

SERVICES = ("gateway", "intake", "worker")
RUNNING = (*SERVICES, "mongo", "rabbitmq", "proxy")
STEPS = ("hand-out", "accounts", "init")
NOT_AUTHORIZED = ("not authorized", "Checking authorization failed", "AuthenticationFailed", "access_refused")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeStack]:
    folder = tmp_path_factory.mktemp("hardening")
    # Two gateways, so that the proxy is there as well.
    (folder / "scale.json").write_text(json.dumps({"gateway": 2}))
    with running_compose_stack(folder, {"ACKED_DRAIN_S": "2"}) as running:
        yield running


def every_container(stack: ComposeStack) -> dict[str, Any]:
    """What the engine knows of each container, those that have ended too; one for each service."""
    ids = docker("ps", "--all", "--quiet", f"--filter=label=com.docker.compose.project={stack.containers.project.name}")
    found = json.loads(docker("inspect", *ids.split()))
    return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in found}


def logs(stack: ComposeStack) -> str:
    """All that every container has ever said."""
    ids = docker("ps", "--all", "--quiet", f"--filter=label=com.docker.compose.project={stack.containers.project.name}")
    done = [subprocess.run(["docker", "logs", one], capture_output=True, text=True, check=True) for one in ids.split()]
    return "".join(one.stdout + one.stderr for one in done)


def test_no_container_can_do_more_than_it_must(stack: ComposeStack) -> None:
    containers = every_container(stack)
    assert set(containers) == {*RUNNING, *STEPS}
    for name, found in containers.items():
        host, user = found["HostConfig"], found["Config"]["User"].split(":")[0]
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert host["SecurityOpt"] == ["no-new-privileges:true"], name
        assert not host["Privileged"], name
        assert host["Memory"] > 0, name
        assert 0 < host["PidsLimit"] <= 8192, name
        assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "5"}, name
        if name == "hand-out":
            assert sorted(host["CapAdd"]) == ["CHOWN", "DAC_OVERRIDE"]
            assert host["NetworkMode"] == "none"
        else:
            assert not host["CapAdd"], name
            assert user not in ("", "0", "root"), name
    assert {containers[step]["State"]["ExitCode"] for step in STEPS} == {0}


@pytest.mark.parametrize("service", RUNNING)
def test_processes_have_no_capability_and_can_get_none(stack: ComposeStack, service: str) -> None:
    status = dict(line.split(":\t", 1) for line in stack.run_in(service, "cat /proc/1/status").splitlines())
    assert "0" not in status["Uid"].split()
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"
    refused = stack.run_in(service, "for f in /here /etc/here /usr/here; do touch $f 2>/dev/null || echo refused; done")
    assert refused.split() == ["refused"] * 3


def test_nothing_is_published_but_two_ports_on_loopback(stack: ComposeStack) -> None:
    published = [
        (binding["HostIp"], int(binding["HostPort"]))
        for found in every_container(stack).values()
        for bindings in found["NetworkSettings"]["Ports"].values()
        for binding in bindings or ()
    ]
    assert sorted(published) == [("127.0.0.1", stack.gateway_port), ("127.0.0.1", stack.intake_port)]


def test_servers_are_reached_by_those_who_work_with_them_alone(stack: ComposeStack) -> None:
    containers = every_container(stack)
    networks = {name: set(containers[name]["NetworkSettings"]["Networks"]) for name in RUNNING}
    data, edge, outside = (f"{stack.containers.project.name}_{name}" for name in ("data", "edge", "outside"))
    assert networks == {
        "mongo": {data},
        "rabbitmq": {data},
        "gateway": {data, edge},
        "intake": {data, edge},
        "worker": {data, outside},
        "proxy": {edge},
    }
    assert json.loads(docker("network", "inspect", data))[0]["Internal"]
    for server in ("mongo/27017", "rabbitmq/5672"):
        asked = f"exec 3<>/dev/tcp/{server}"
        assert stack.run_in("worker", f"({asked}) 2>/dev/null && echo reached").strip() == "reached"
        assert stack.run_in("proxy", f"({asked}) 2>/dev/null || echo unknown").strip() == "unknown"


def test_secrets_are_for_their_owner_alone_and_told_nowhere(stack: ComposeStack) -> None:
    folder = stack.containers.project.secrets
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in SECRETS} == {0o600}
    values = [(folder / name).read_text().strip() for name in SECRETS]
    assert ".acked/" in (ROOT / ".gitignore").read_text().splitlines()

    running = docker(
        "ps", "--quiet", f"--filter=label=com.docker.compose.project={stack.containers.project.name}"
    ).split()
    places = {
        "docker inspect": json.dumps(every_container(stack)),
        "the logs": logs(stack),
        "arguments": "".join(docker("top", one, "-eo", "pid,args") for one in running),
        "environments": "".join(docker("exec", one, "cat", "/proc/1/environ") for one in running),
    }
    for place, text in places.items():
        assert len(text) > 100
        assert [name for name, value in zip(SECRETS, values, strict=True) if value in text] == [], place


@pytest.mark.parametrize(
    ("service", "names"),
    [
        ("mongo", "key"),
        ("rabbitmq", "definitions.json enabled_plugins rabbitmq.conf"),
        ("intake", "amqp mongo"),
        ("gateway", "amqp mongo worker"),
        ("worker", "amqp mongo worker"),
    ],
)
def test_each_container_has_its_own_secrets_alone(stack: ComposeStack, service: str, names: str) -> None:
    assert stack.run_in(service, "ls -A /run/acked").split() == names.split()
    assert set(stack.run_in(service, "stat -c %a:%u /run/acked/*; id -u").split()) == {
        f"400:{(user := stack.run_in(service, 'id -u').strip())}",
        user,
    }
    assert stack.run_in(service, "touch /run/acked/here 2>/dev/null || echo refused") == "refused\n"
    assert stack.run_in(service, "ls -A /run/secrets 2>/dev/null; true") == ""


def test_what_acked_does_is_allowed(stack: ComposeStack) -> None:
    running, later = stack.process("demo", payload={"seconds": 30}), stack.process("noop", delay_s=3600)
    flaky = stack.process("flaky", payload={"failures": 1})
    eventually(lambda: stack.status(running)["state"] == State.RUNNING, within_s=30, what="it runs")
    for job_id in (running, later):
        assert stack.call("POST", f"/jobs/{job_id}/cancel").status in (200, 202)
    eventually(lambda: stack.status(running)["state"] == State.CANCELLED, within_s=30, what="it is cancelled")
    assert stack.call("POST", f"/jobs/{later}/resolve", {"state": "failed"}).status == 409
    assert stack.finished(flaky)["state"] == State.SUCCEEDED
    for path in ("/workers", "/kinds", "/jobs?state=failed", "/readyz"):
        assert stack.call("GET", path).status == 200
    said = [line for line in logs(stack).splitlines() if any(word in line for word in NOT_AUTHORIZED)]
    # Where a queue is not there, intake and gateways learn once that they may make none.
    assert [line for line in said if "configure access to queue" not in line] == []


# Runs inside a container, with what its service itself knows; prints what happened to each attempt.
MONGO_ATTEMPTS = """
import json
from pymongo import MongoClient
from pymongo.errors import OperationFailure
from acked_common.runtime.env import Env
from acked_common.runtime.settings import read_common
db = MongoClient(read_common(Env()).servers.mongo_url, serverSelectionTimeoutMS=10000).acked
attempts = {
    "insert": lambda: db.jobs.insert_one({"_id": 1}),
    "delete": lambda: db.jobs.delete_many({"_id": 1}),
    "index": lambda: db.jobs.create_index("payload"),
    "watch": lambda: db.jobs.watch(max_await_time_ms=1).try_next(),
    "accounts": lambda: db.command("usersInfo"),
    "find": lambda: db.jobs.find_one(),
}
found = {}
for name, attempt in attempts.items():
    try:
        attempt()
        found[name] = "done"
    except OperationFailure as error:
        # 121: allowed, but the validator refuses it.
        found[name] = {13: "refused", 121: "invalid"}.get(error.code, str(error))
print(json.dumps(found))
"""
RABBIT_ATTEMPTS = """
import asyncio, json, aio_pika
from acked_common.runtime.env import Env
from acked_common.runtime.settings import read_common
async def attempt(connection, act):
    channel = await connection.channel()
    try:
        await act(channel)
        return "done"
    except aio_pika.exceptions.ChannelClosed as error:
        return "refused" if "ACCESS_REFUSED" in str(error) else str(error)
async def publish(channel, exchange, key):
    exchange = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
    await exchange.publish(aio_pika.Message(b""), key, mandatory=False)
async def take(channel, name):
    queue = await channel.get_queue(name, ensure=False)
    await queue.get(fail=False)
async def main():
    async with await aio_pika.connect(read_common(Env()).servers.amqp_url) as connection:
        attempts = {
            "make a queue": lambda c: c.declare_queue("elsewhere"),
            "make a lane": lambda c: c.declare_queue("acked.lane.new", exclusive=True),
            "delete a lane": lambda c: c.queue_delete("acked.lane.flaky"),
            "take from a lane": lambda c: take(c, "acked.lane.flaky"),
            "take what is dead": lambda c: take(c, "acked.dead"),
            "send a command": lambda c: publish(c, "acked.commands", ""),
            "look at a lane": lambda c: c.declare_queue("acked.lane.flaky", passive=True),
        }
        print(json.dumps({name: await attempt(connection, act) for name, act in attempts.items()}))
asyncio.run(main())
"""


def attempts_in(stack: ComposeStack, service: str, script: str) -> Any:
    return json.loads(stack.run_in(service, f"python - <<'END'\n{script}\nEND"))


@pytest.mark.parametrize(
    ("service", "done"),
    [("worker", {"find"}), ("gateway", {"find", "watch"}), ("intake", {"find", "insert"})],
)
def test_mongodb_refuses_what_is_not_a_service_s_work(stack: ComposeStack, service: str, done: set[str]) -> None:
    found = attempts_in(stack, service, MONGO_ATTEMPTS)
    assert {name for name, outcome in found.items() if outcome in ("done", "invalid")} == done, found
    assert {outcome for name, outcome in found.items() if name not in done} == {"refused"}, found
    assert any(word in logs(stack) for word in NOT_AUTHORIZED[:2]), "the server tells of it"


@pytest.mark.parametrize(
    ("service", "done"),
    [
        ("intake", {"look at a lane"}),
        ("gateway", {"look at a lane", "send a command"}),
        # Last: it deletes a lane, and makes it again by itself.
        ("worker", {"look at a lane", "make a lane", "delete a lane", "take from a lane"}),
    ],
)
def test_rabbitmq_refuses_what_is_not_a_service_s_work(stack: ComposeStack, service: str, done: set[str]) -> None:
    found = attempts_in(stack, service, RABBIT_ATTEMPTS)
    if service == "worker":
        # A deleted lane is not there for what comes after it.
        found = {name: "done" if "NOT_FOUND" in outcome else outcome for name, outcome in found.items()}
    assert {name for name, outcome in found.items() if outcome == "done"} == done, found
    assert {outcome for name, outcome in found.items() if name not in done} == {"refused"}, found


def test_a_lane_that_is_lost_is_made_again_by_a_worker(stack: ComposeStack) -> None:
    docker(
        "exec",
        stack.containers.project.containers("rabbitmq")[0],
        "rabbitmqctl",
        "-q",
        "delete_queue",
        "acked.lane.noop",
    )
    job_id = stack.process("noop")
    assert stack.finished(job_id, wait_s=60)["state"] == State.SUCCEEDED


def test_there_is_no_guest_and_no_page(stack: ComposeStack) -> None:
    (rabbitmq,) = stack.containers.project.containers("rabbitmq")
    users = json.loads(docker("exec", rabbitmq, "rabbitmqctl", "-q", "list_users", "--formatter=json"))
    assert {user["user"] for user in users} == {"acked", "init", "intake", "gateway", "worker"}
    assert all(user["tags"] == [] for user in users)
    listeners = docker("exec", rabbitmq, "rabbitmq-diagnostics", "-q", "listeners")
    assert set(re.findall(r"port: (\d+)", listeners)) == {"5672", "25672"}


def test_by_hand_the_secrets_of_the_repository_are_used_and_the_log_says_so(stack: ComposeStack) -> None:
    environ = {
        name: value for name, value in stack.containers.project.environ.items() if not name.startswith("ACKED_SECRETS")
    }
    environ["COMPOSE_PROJECT_NAME"] = f"{stack.containers.project.name}-by-hand"

    def compose(*words: str) -> str:
        done = subprocess.run(
            ["docker", "compose", "--project-directory", str(ROOT), *words],
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout + done.stderr

    try:
        said = compose("run", "--rm", "--no-deps", "hand-out")
    finally:
        compose("down", "--volumes")
    assert "development secrets are in use" in said
    assert "acked-development-" not in said


@pytest.mark.long
def test_another_administrator_s_password_is_refused_in_words(stack: ComposeStack) -> None:
    # The last test: the stack does not come back.
    (stack.containers.project.secrets / "mongo-admin").write_text("another-password-of-40-characters-or-so")
    with pytest.raises(ContainersError, match=r"accounts said:\n.*restore the secrets that the data was made with"):
        stack.containers.up()
