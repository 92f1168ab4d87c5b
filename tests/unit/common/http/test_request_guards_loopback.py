"""The loopback's names in front of WebSockets: one port of this machine is one origin."""

import pytest

from acked_common.http.problems import ProblemError
from acked_common.http.request_guards import LOCAL_HOSTS, Message, RequestGuards

GUARDS = RequestGuards(allowed_hosts=LOCAL_HOSTS | {"acked.example"})


def is_let_in(kind: str, host: str, origin: str) -> bool:
    scope: Message = {
        "type": kind,
        "method": "POST",
        "path": "/x",
        "headers": [(b"host", host.encode()), (b"origin", origin.encode())],
    }
    try:
        GUARDS.check(scope)
    except ProblemError as error:
        assert error.problem.name == "origin-not-allowed"
        return False
    return True


@pytest.mark.parametrize(
    ("host", "origin", "allowed"),
    [
        ("localhost:8080", "http://127.0.0.1:8080", True),
        ("localhost:8080", "http://[::1]:8080", True),
        ("127.0.0.1:8080", "http://localhost:8080", True),
        ("localhost", "http://127.0.0.1", True),
        ("localhost:8080", "http://127.0.0.1:3000", False),
        ("localhost:8080", "http://127.0.0.1", False),
        ("localhost:8080", "http://127.0.0.1:8080.evil.example", False),
        ("localhost:8080", "http://evil.example:8080", False),
        ("localhost:8080", "http://127.0.0.2:8080", False),
        ("localhost:8080", "file://127.0.0.1:8080", False),
        ("localhost:8080", "null", False),
        ("acked.example:8080", "http://localhost:8080", False),
        ("localhost:8080", "http://acked.example:8080", False),
    ],
)
def test_loopback_names_of_one_port_share_websockets(host: str, origin: str, allowed: bool) -> None:
    assert is_let_in("websocket", host, origin) is allowed
    assert not is_let_in("http", host, origin), "changes stay with the exact origin"
