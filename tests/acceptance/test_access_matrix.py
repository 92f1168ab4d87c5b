"""Every route and every WebSocket, tried by everybody with what belongs to another tenant.

The routes are those of the route tables, so that a new one is tried by itself. One that needs to be told what to aim at
(a new path parameter, a new WebSocket) fails until it is.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

import pytest
from starlette.applications import Starlette
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from acked_common.api.routes import EVENTS, ApiRoute, Operation, SocketRoute
from acked_common.channel.frames import encode
from acked_common.channel.worker_end import hello_of
from acked_common.model.principal import DEFAULT_TENANT, Permission
from acked_common.runtime.env import Env
from acked_gateway.app import create_app as create_gateway
from acked_gateway.schedules.operations import ScheduleRequest
from acked_gateway.settings import read_settings as read_gateway_settings
from acked_intake.app import create_app as create_intake
from acked_intake.settings import read_settings as read_intake_settings
from support.access import Client, make_token, problem_name
from support.stacks import TestStack

ENVIRON = {"ACKED_ACCESS": "tokens"}
MINE, THEIRS = "acme", "globex"
MARK = "belongs-to-globex-alone"
BATCH = "shared-name"
FEED, WORKER = "/ws/feed", "/ws/worker"


@dataclass(frozen=True, slots=True)
class Role:
    """Somebody who calls."""

    name: str
    tenant: str
    permissions: frozenset[Permission]

    def may(self, permission: Permission | None, *, of_all_tenants: bool = False) -> bool:
        """Whether it should get through."""
        if permission is None:
            return True
        return permission in self.permissions and not (of_all_tenants and self.tenant != DEFAULT_TENANT)


EVERYTHING = frozenset(Permission) - {Permission.WORKER}
ROLES = [
    Role("nobody", "", frozenset()),
    *(Role(f"may {p}", MINE, frozenset({p})) for p in sorted(EVERYTHING)),
    Role("may all", MINE, EVERYTHING),
    Role("worker", DEFAULT_TENANT, frozenset({Permission.WORKER})),
    Role("server", DEFAULT_TENANT, EVERYTHING),
]


def applications() -> dict[str, Starlette]:
    return {
        "gateway": create_gateway(read_gateway_settings(Env({}))),
        "intake": create_intake(read_intake_settings(Env({}))),
    }


def operations() -> Iterator[tuple[str, Operation]]:
    for service, application in applications().items():
        for route in application.routes:
            if isinstance(route, ApiRoute):
                yield from ((service, operation) for operation in route.operations)


def sockets() -> set[str]:
    return {
        route.path
        for application in applications().values()
        for route in application.routes
        if isinstance(route, SocketRoute)
    }


@pytest.fixture(scope="module")
def clients(stack: TestStack) -> dict[str, Client]:
    """A client of each role."""
    return {
        role.name: Client(
            stack,
            make_token(stack, *role.permissions, tenant=role.tenant, client=role.name.replace(" ", "-"))
            if role.permissions
            else "",
        )
        for role in ROLES
    }


@pytest.fixture(scope="module")
def theirs(stack: TestStack) -> Client:
    """A client of the other tenant."""
    return Client(stack, make_token(stack, *EVERYTHING, tenant=THEIRS, client="owner"))


def sent_by(theirs: Client, **fields: Any) -> str:
    """A job of the other tenant."""
    return theirs.process(batch=f"{BATCH}-theirs", tags=[MARK], payload={"mark": MARK}, **fields)


@pytest.fixture(scope="module")
def foreign_job(theirs: Client) -> str:
    """A job of the other tenant, which its own client sees."""
    job_id = sent_by(theirs, delay_s=3600)
    answer = theirs.call("GET", f"/jobs/{job_id}")
    assert answer.body["payload"] == {"mark": MARK}
    return job_id


def target(operation: Operation, job_id: str) -> str:
    """The path of the operation, aimed at what is another tenant's."""
    aims = {
        "/jobs": {"id": job_id, "name": "paid", "delivery": job_id},
        "/callback-endpoints": {"name": "no-such-endpoint"},
        "/callback-secrets": {"secret": "cs_none"},
        "/status": {"id": job_id},
        "/batches": {"batch": f"{BATCH}-theirs"},
        # One of its own stands in the test of foreign bulk actions.
        "/bulk-actions": {"id": job_id},
        "/attention": {"group": "ungrouped"},
        # Workers serve all tenants; nobody shall leave here.
        "/workers": {"id": "no-such-worker"},
        # Nor shall a kind stand still.
        "/kinds": {"kind": "no-such-kind"},
        "/schedules": {"name": "no-such-schedule"},
        "/problems": {"name": "busy"},
        "/pages": {"name": "app.css"},
    }
    path = operation.path
    for parameter in operation.parameters:
        if parameter.place == "path":
            path = path.replace(f"{{{parameter.name}}}", aims["/" + path.split("/")[1]][parameter.name])
    assert "{" not in path, f"tell this test what {operation.path} is to be aimed at"
    wanted = {"count": "1", "batch": BATCH} if path == "/load-test" else {}
    return path + ("?" + "&".join(f"{name}={value}" for name, value in wanted.items()) if wanted else "")


def defines(operation: Operation) -> bool:
    """Whether its body defines a schedule, under a name that need not be there."""
    return operation.body is not None and operation.body.type is ScheduleRequest


def body_of(operation: Operation) -> Any:
    if operation.body is None:
        return None
    if operation.method == "PUT" and operation.path.startswith("/callback-endpoints"):
        # It would make what is not there, so its URL is not allowed.
        return {"url": "https://localhost/hook"}
    if defines(operation):
        # It would make what is not there, so its kind is not there either.
        return {"every_s": 3600, "kind": "no-such-kind"}
    return next(iter(operation.body.examples.values()))


OPERATIONS = list(operations())


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
@pytest.mark.parametrize(
    ("service", "operation"), OPERATIONS, ids=[f"{service} {operation.id}" for service, operation in OPERATIONS]
)
def test_each_route_lets_in_whom_it_should_and_shows_nobody_anothers(
    service: str, operation: Operation, role: Role, clients: dict[str, Client], foreign_job: str
) -> None:
    client = clients[role.name]
    # A stream is asked for without a scope, so that it ends; what it tells is in a test of its own.
    headers = {"Accept": EVENTS} if EVENTS in operation.answers[0].media else {}
    answer = client.call(
        operation.method, target(operation, foreign_job), body_of(operation), to=service, headers=headers
    )
    name = problem_name(answer)
    if operation.permission is not None and not role.permissions:
        assert (answer.status, name) == (401, "no-token")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    elif not role.may(operation.permission, of_all_tenants=operation.of_all_tenants):
        assert (answer.status, name) == (403, "missing-permission")
        assert str(operation.permission) in answer.body["detail"]
    else:
        assert answer.status not in (400, 401, 403, 500, 503), answer.raw
        if operation.permission is not None and any(p.place == "path" for p in operation.parameters):
            wanted = (422, "invalid-field") if operation.method == "PUT" else (404, "not-found")
            wanted = (422, "unknown-kind") if defines(operation) else wanted
            assert (answer.status, name) == wanted
    # Whoever asks, nothing of the other tenant is in the answer, beyond the id that was asked with.
    assert MARK not in answer.raw.decode("utf-8", "replace")
    if "{" not in operation.path:
        assert foreign_job not in answer.raw.decode("utf-8", "replace")


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_no_wait_and_no_filter_shows_anothers(role: Role, clients: dict[str, Client], foreign_job: str) -> None:
    client = clients[role.name]
    wanted = {True: (404, "not-found"), False: (403, "missing-permission")}[role.may(Permission.READ)]
    if not role.permissions:
        wanted = (401, "no-token")
    for service in ("gateway", "intake"):
        answer = client.call("GET", f"/status/{foreign_job}?wait_s=0.2&after_rev=0", to=service)
        assert (answer.status, problem_name(answer)) == wanted
    if role.may(Permission.READ):
        for query in (f"batch={BATCH}-theirs", f"tag={MARK}", "kind=noop", "state=scheduled"):
            listed = client.call("GET", f"/jobs?{query}")
            assert listed.status == 200
            assert foreign_job not in listed.raw.decode()


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_a_foreign_bulk_action_is_not_there(role: Role, clients: dict[str, Client], theirs: Client) -> None:
    client = clients[role.name]
    started = theirs.call("POST", "/bulk-actions", {"action": "retry", "filter": {"tag": MARK}, "reason": MARK})
    assert started.status == 202, started.raw
    action = started.body["id"]
    wanted = (404, "not-found") if role.permissions else (401, "no-token")
    for method, path, permission in (
        ("GET", f"/bulk-actions/{action}", Permission.READ),
        ("POST", f"/bulk-actions/{action}/abort", Permission.OPERATE),
    ):
        answer = client.call(method, path)
        may = role.may(permission) or not role.permissions
        assert (answer.status, problem_name(answer)) == (wanted if may else (403, "missing-permission"))
    listed = client.call("GET", "/bulk-actions")
    assert listed.status == (200 if role.may(Permission.READ) else 403 if role.permissions else 401)
    assert action not in listed.raw.decode()
    own = theirs.call("GET", f"/bulk-actions/{action}")
    assert (own.status, own.body["by"]["client"]) == (200, "owner")
    # The filter is of the tenant's own jobs: whoever names theirs moves none.
    if role.may(Permission.OPERATE):
        preview = client.call("POST", "/bulk-actions", {"action": "cancel", "filter": {"tag": MARK}, "dry_run": True})
        assert (preview.status, preview.body["count"], preview.body["examples"]) == (200, 0, [])


def test_each_websocket_is_tried() -> None:
    assert sockets() == {FEED, WORKER}, "tell the tests below who may use the new one"


def scopes(job_id: str) -> list[dict[str, Any]]:
    return [{"all": True}, {"kind": "noop"}, {"batch": f"{BATCH}-theirs"}, {"ids": [job_id]}]


@pytest.mark.parametrize("way", ["header", "message"])
@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_the_feed_tells_nobody_anothers(
    role: Role, way: str, stack: TestStack, clients: dict[str, Client], theirs: Client, foreign_job: str
) -> None:
    client = clients[role.name]
    url = f"ws://127.0.0.1:{stack.gateway_port}{FEED}"
    headers = client.headers if way == "header" else {}
    may = role.may(Permission.READ)
    if way == "header" and role.permissions and not may:
        with pytest.raises(InvalidStatus) as refused:
            connect(url, additional_headers=headers, proxy=None)
        assert refused.value.response.status_code == 403
        return
    with connect(url, additional_headers=headers, proxy=None, compression=None) as line:
        if way == "message" or not role.permissions:
            line.send(json.dumps({"type": "authenticate", "token": client.token}))
        for sub, scope in enumerate(scopes(foreign_job)):
            try:
                line.send(json.dumps({"type": "subscribe", "sub": sub, "scope": scope}))
            except ConnectionClosed:
                assert not may
        if not may:
            told = []
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    told.append(json.loads(line.recv(timeout=10)))
            assert [frame["type"] for frame in told] == ["error"]
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == (4403 if role.permissions else 4401)
            return
        seen: list[str] = []
        subs = set(range(len(scopes(foreign_job))))
        while subs:
            text = line.recv(timeout=10)
            assert isinstance(text, str)
            seen.append(text)
            frame = json.loads(text)
            if frame["type"] == "snapshot":
                subs.discard(frame["sub"])
        assert json.loads(seen[0])["type"] == "hello"
        assert foreign_job not in "".join(seen)
        # What happens from now on neither: theirs first, then one's own, which is told.
        news = sent_by(theirs)
        assert theirs.call("POST", f"/jobs/{foreign_job}/cancel").status == 200
        mine = clients["server" if role.tenant == DEFAULT_TENANT else "may all"].process("noop")
        while mine not in seen[-1]:
            seen.append(str(line.recv(timeout=10)))
        assert foreign_job not in "".join(seen)
        assert news not in "".join(seen)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_the_event_stream_tells_nobody_anothers(
    role: Role, stack: TestStack, clients: dict[str, Client], theirs: Client, foreign_job: str
) -> None:
    client = clients[role.name]
    query = f"all=true&kind=noop&batch={BATCH}-theirs&ids={foreign_job}"
    with closing(HTTPConnection("127.0.0.1", stack.gateway_port, timeout=10)) as connection:
        connection.request("GET", f"{FEED}?{query}", headers={"Accept": EVENTS, **client.headers})
        answer = connection.getresponse()
        if not role.may(Permission.READ):
            assert answer.status == (403 if role.permissions else 401)
            return
        seen: list[bytes] = []
        while sum(line.startswith(b"event: snapshot") for line in seen) < len(scopes(foreign_job)):
            seen.append(answer.readline())
        news = sent_by(theirs)
        assert theirs.call("POST", f"/jobs/{foreign_job}/cancel").status in (200, 409)
        mine = clients["server" if role.tenant == DEFAULT_TENANT else "may all"].process("noop")
        while mine.encode() not in seen[-1]:
            seen.append(answer.readline())
        assert foreign_job.encode() not in b"".join(seen)
        assert news.encode() not in b"".join(seen)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_the_worker_channel_is_for_workers(role: Role, stack: TestStack, clients: dict[str, Client]) -> None:
    url = f"ws://127.0.0.1:{stack.gateway_port}{WORKER}"
    headers = clients[role.name].headers
    if Permission.WORKER not in role.permissions:
        with pytest.raises(InvalidStatus) as refused:
            connect(url, additional_headers=headers, proxy=None)
        assert refused.value.response.status_code == (403 if role.permissions else 401)
        return
    with connect(url, additional_headers=headers, proxy=None, compression=None) as line:
        line.send(encode(hello_of(boot="b", worker="w", kinds=["noop"], version="1", slots=1, stream=0)))
        assert json.loads(line.recv(timeout=10))["type"] == "welcome"
