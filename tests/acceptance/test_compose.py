"""The stack in containers: the same promises as on the machine itself, whatever happens to a container."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from acked_common.model.lifecycle import State
from deploy.docker.containers import Containers
from deploy.docker.project import Project
from deploy.observed import TARGETS, observed
from support.compose import ComposeStack, docker, running_compose_stack
from support.feed import observers, states_known
from support.load import Load
from support.stacks import eventually

SERVICES = ("gateway", "intake", "worker")
SERVERS = ("mongo", "rabbitmq")
JOBS = 300
METRICS_PORT = 9100
METRICS = {"ACKED_METRICS_PORT": str(METRICS_PORT), "ACKED_METRICS_HOST": "0.0.0.0"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeStack]:
    environ = {"ACKED_DRAIN_S": "2", **METRICS}
    with running_compose_stack(tmp_path_factory.mktemp("compose"), environ) as running:
        yield running


def submit(stack: ComposeStack, batch: str, count: int = JOBS, seconds: float = 1.0) -> None:
    def send(_: int) -> str:
        return stack.process("demo", payload={"seconds": seconds}, batch=batch)

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(send, range(count)))) == count


def ends(stack: ComposeStack, batch: str, count: int = JOBS, within_s: float = 90.0) -> None:
    eventually(
        lambda: stack.batch(batch) == {State.SUCCEEDED: count},
        within_s=within_s,
        what=f"all of {batch} have succeeded",
    )


def is_running(stack: ComposeStack, batch: str) -> None:
    eventually(lambda: stack.batch(batch).get(State.RUNNING), within_s=30, what="some of it runs")


def test_only_gateway_and_intake_are_published_and_only_on_loopback(stack: ComposeStack) -> None:
    published = {service: _published(*stack.inspect(service)) for service in (*SERVICES, *SERVERS)}
    assert published == {
        "gateway": [("127.0.0.1", str(stack.gateway_port))],
        "intake": [("127.0.0.1", str(stack.intake_port))],
        **{service: [] for service in ("worker", *SERVERS)},
    }


@pytest.mark.parametrize("service", SERVICES)
def test_services_run_without_root_and_without_tools(stack: ComposeStack, service: str) -> None:
    assert stack.run_in(service, "id -u").strip() == "10001"
    assert stack.run_in(service, "command -v pip pip3 uv gcc cc make; true") == ""
    assert stack.run_in(service, "python -c 'import importlib.util as u; print(u.find_spec(\"pytest\"))'") == "None\n"
    assert stack.run_in(service, "touch /opt/acked/here 2>/dev/null || echo refused") == "refused\n"
    (found,) = stack.inspect(service)
    assert not any(name in line for line in found["Config"]["Env"] for name in ("PIP_", "UV_", "SSL_CERT"))


def test_servers_run_without_root(stack: ComposeStack) -> None:
    for service, program in (("mongo", "mongod"), ("rabbitmq", "beam.smp")):
        table = docker("top", stack.containers.project.containers(service)[0], "-eo", "pid,uid,comm").splitlines()[1:]
        users = {line.split()[1] for line in table if line.split()[2].startswith(program)}
        assert users, table
        assert "0" not in users


def test_a_load_test_ends_while_workers_are_added(stack: ComposeStack) -> None:
    figures: Any = stack.call("POST", "/load-test?count=1000").body
    assert (figures["persisted"], figures["failed"]) == (1000, 0)

    stack.containers.scale({"worker": 4})

    ends(stack, figures["batch"], 1000)
    assert len(stack.containers.project.containers("worker")) == 4
    submit(stack, "shared-by-four")
    ends(stack, "shared-by-four")

    def that_worked() -> list[Any]:
        return [worker for worker in stack.call("GET", "/workers").body["workers"] if worker["finished"] > 0]

    # Each tells it with its next sign of life.
    eventually(lambda: len(that_worked()) == 4, within_s=20, what="all four have done some of it")
    stack.containers.scale({"worker": 2})
    eventually(lambda: len(stack.call("GET", "/workers").body["workers"]) == 2, within_s=30, what="two workers")


@pytest.mark.long
def test_prometheus_reaches_each_container_in_their_network(stack: ComposeStack) -> None:
    scale = stack.containers.project.scale
    found = json.loads((observed(stack.containers.project.state) / TARGETS).read_text())
    assert Counter(one["labels"]["service"] for one in found) == scale
    addresses = {one["targets"][0] for one in found}
    assert len(addresses) == len(found)
    for address in addresses:
        host, port = address.rsplit(":", 1)
        request = r"GET /metrics HTTP/1.0\r\nHost: prometheus\r\n\r\n"
        script = f"exec 3<>/dev/tcp/{host}/{port} && printf '{request}' >&3 && cat <&3"
        assert "acked_build_info{" in stack.run_in("intake", script)


@pytest.mark.parametrize("service", ["worker", *(pytest.param(name, marks=pytest.mark.long) for name in SERVICES[:2])])
def test_a_service_that_dies_comes_back_and_everything_ends(stack: ComposeStack, service: str) -> None:
    batch = f"crash-{service}"
    with observers() as watching:
        (observer,) = watching.add(stack, {"batch": batch})
        eventually(watching.have_snapshots, within_s=10, what="the snapshot")
        submit(stack, batch)
        is_running(stack, batch)

        stack.crash(service)

        stack.wait_ready()
        ends(stack, batch)
        eventually(
            lambda: states_known(observer) == {State.SUCCEEDED: JOBS}, within_s=30, what="the feed has told the end"
        )
        assert observer.wrong == []


def test_a_killed_worker_s_jobs_run_elsewhere(stack: ComposeStack) -> None:
    submit(stack, "killed", seconds=2.0)
    is_running(stack, "killed")
    killed = stack.kill("worker")
    ends(stack, "killed")
    docker("start", killed)


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_may_be_stopped_and_started(stack: ComposeStack, server: str) -> None:
    batch = f"stopped-{server}"
    submit(stack, batch)
    is_running(stack, batch)
    (container,) = stack.containers.project.containers(server)

    docker("stop", container)
    answer = stack.call("POST", "/process", {"kind": "noop", "batch": batch}, to="intake")
    docker("start", container)

    # The broker only holds what waits; without the database nothing can be kept.
    assert answer.status == (202 if server == "rabbitmq" else 503)
    stack.wait_ready()
    ends(stack, batch, JOBS + (answer.status == 202))
    submit(stack, f"{batch}-afterwards", 10, 0.0)
    ends(stack, f"{batch}-afterwards", 10)


def _published(container: Any) -> list[tuple[str, str]]:
    bound = container["NetworkSettings"]["Ports"].values()
    return [(binding["HostIp"], binding["HostPort"]) for bindings in bound for binding in bindings or ()]


def _is_healthy(container: str) -> None:
    eventually(
        lambda: docker("inspect", "--format", "{{.State.Health.Status}}", container).strip() == "healthy",
        within_s=60,
        what="the container is healthy",
    )


def test_jobs_outlive_the_containers_and_their_passwords(stack: ComposeStack) -> None:
    job_id = stack.process("noop")
    stack.finished(job_id)

    stack.containers.down()
    assert not stack.containers.is_up()
    for name in ("mongo-key", "mongo-intake", "amqp-worker", "worker"):
        (stack.containers.project.secrets / name).unlink()
    stack.containers.up()

    assert stack.status(job_id)["state"] == State.SUCCEEDED
    assert stack.finished(stack.process("noop"))["state"] == State.SUCCEEDED
    assert len(stack.containers.project.containers("intake")) == stack.containers.project.scale["intake"]


@pytest.mark.long
async def test_behind_the_proxy_a_stopping_replica_refuses_nobody(stack: ComposeStack) -> None:
    await asyncio.to_thread(stack.containers.scale, {"gateway": 2, "intake": 2})
    published = {service for service in (*SERVICES, "proxy") if any(map(_published, stack.inspect(service)))}
    assert published == {"proxy"}
    first, second = stack.containers.project.containers("intake")
    url = f"http://127.0.0.1:{stack.intake_port}/process"

    async with Load(url, [{"kind": "noop", "batch": "proxied"}], busy=4, fresh=4, seldom=4, pause_s=0.02) as load:
        for container in (first, second):
            before = len(load.accepted)
            await asyncio.to_thread(docker, "restart", container)
            await asyncio.to_thread(_is_healthy, container)
            assert len(load.accepted) > before

    assert load.failures == []
    await asyncio.to_thread(ends, stack, "proxied", len(load.accepted))


@pytest.mark.long
def test_tokens_are_made_in_containers_and_asked_for(stack: ComposeStack) -> None:
    before = stack.containers
    asking = Containers(
        Project(before.project.ports, {**before.project.environ, "ACKED_ACCESS": "tokens"}, before.project.state)
    )
    stack.containers = asking
    # The recipe asks the gateway for its workers, so it has made itself a token by the end.
    asking.restart(["intake", "gateway"])
    stack.wait_ready()
    assert stack.call("GET", "/jobs").status == 401
    token = asking._access(["make", "--client", "c", "--tenant", "acme", "--may", "submit,read"]).strip()
    headers = {"Authorization": f"Bearer {token}"}
    accepted = stack.call("POST", "/process", {"kind": "noop"}, to="intake", headers=headers)
    assert accepted.status == 202
    listed = stack.call("GET", "/jobs", headers=headers).body["jobs"]
    assert [job["id"] for job in listed] == [accepted.body["id"]]
    assert asking.token_command(["list"]) == 0
    assert asking.token_command(["revoke", token.split("_")[1]]) == 0
    eventually(lambda: stack.call("GET", "/jobs", headers=headers).status == 401, within_s=15, what="revoked")
    # The last one, so the gateway alone goes back to what it was.
    stack.containers = before
    before.restart(["gateway"])
    stack.wait_ready()
    assert stack.call("GET", "/jobs").status == 200
