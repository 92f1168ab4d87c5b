"""Probes come by any address, and learn nothing but the status there."""

import pytest

from acked_common.http.probes import STRANGER, as_probe
from acked_common.http.problems import ProblemError
from acked_common.http.request_guards import RequestGuards

PROBING_HOSTS = [b"10.244.0.5:8080", b"acked-gateway:8080", b"evil.example", b""]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("host", PROBING_HOSTS)
async def test_a_probe_may_come_by_any_host_as_a_stranger(path: str, host: bytes) -> None:
    scope = {"type": "http", "method": "GET", "path": path, "headers": [(b"host", host)]}
    RequestGuards().check(scope)
    assert scope[STRANGER] is True


@pytest.mark.parametrize("host", [b"localhost", b"127.0.0.1:8080", b"LOCALHOST"])
async def test_a_probe_by_an_own_name_is_no_stranger(host: bytes) -> None:
    scope = {"type": "http", "method": "GET", "path": "/readyz", "headers": [(b"host", host)]}
    RequestGuards().check(scope)
    assert scope[STRANGER] is False


@pytest.mark.parametrize("host", PROBING_HOSTS)
async def test_a_probe_teaches_no_host_to_other_routes(host: bytes) -> None:
    guards = RequestGuards()
    for path in ("/healthz", "/readyz"):
        guards.check({"type": "http", "method": "GET", "path": path, "headers": [(b"host", host)]})
    for path in ("/metrics", "/jobs", "/healthz/", "/healthz/x", "/"):
        with pytest.raises(ProblemError) as raised:
            guards.check({"type": "http", "method": "GET", "path": path, "headers": [(b"host", host)]})
        assert raised.value.problem.name == "host-not-allowed"


@pytest.mark.parametrize(("version", "is_refused"), [("1.0", False), ("1.1", True)])
async def test_only_http_1_0_may_probe_without_a_host(version: str, is_refused: bool) -> None:
    scope = {"type": "http", "http_version": version, "method": "GET", "path": "/healthz", "headers": []}
    if is_refused:
        with pytest.raises(ProblemError):
            RequestGuards().check(scope)
    else:
        RequestGuards().check(scope)
        assert scope[STRANGER] is True


@pytest.mark.parametrize(
    ("version", "path", "seen"),
    [
        ("1.0", "/", ("GET", "/healthz")),
        ("1.0", "*", ("GET", "/healthz")),
        ("1.0", "/readyz", ("GET", "/readyz")),
        ("1.0", "/jobs", ("OPTIONS", "/jobs")),
        ("1.1", "/readyz", ("OPTIONS", "/readyz")),
        ("1.1", "/", ("OPTIONS", "/")),
    ],
)
def test_the_options_of_a_load_balancer_ask_for_health(version: str, path: str, seen: tuple[str, str]) -> None:
    found = as_probe({"type": "http", "http_version": version, "method": "OPTIONS", "path": path, "headers": []})
    assert (found["method"], found["path"]) == seen
