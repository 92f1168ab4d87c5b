"""Settings of the services: documented defaults, and values that contradict each other."""

import pytest

from acked_common.http.settings import Bound
from acked_common.runtime.env import Env, SettingsError
from acked_common.runtime.settings import read_common
from acked_gateway.settings import read_settings as read_gateway
from acked_intake.settings import read_settings as read_intake
from acked_worker.settings import read_settings as read_worker
from support.parts import common_settings

DAY_S = 86_400.0


def test_the_defaults_are_those_of_the_design() -> None:
    settings = read_common(Env({}))
    assert (settings.times.lease_s, settings.times.renewal_s, settings.times.sweep_tick_s, settings.times.grace_s) == (
        30,
        8,
        0.5,
        10,
    )
    assert (settings.times.expires_in_s, settings.times.retention_s) == (30 * DAY_S, 30 * DAY_S)
    assert settings.listen.host == "127.0.0.1"
    assert (settings.access.allowed_hosts, settings.access.allowed_origins) == ((), ())
    worker, intake, gateway = read_worker(Env({})), read_intake(Env({})), read_gateway(Env({}))
    assert (worker.capacity.slots, worker.capacity.threads) == (200, 8)
    assert (worker.timeouts.drain_s, worker.timeouts.hold_s) == (25, 10)
    assert (intake.port, gateway.port) == (8081, 8080)
    assert (intake.commit.waiting_jobs, intake.commit.waiting_bytes, intake.max_body_bytes) == (
        20_000,
        64 * 2**20,
        256 * 1024,
    )
    assert intake.commit.answer_within_s < 2
    assert gateway.load_test.connections <= 250


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"lease_s": 10, "renewal_s": 4}, "at most a third"),
        ({"log_level": "loud"}, "one of debug"),
        ({"lease_s": 0.5}, "ACKED_LEASE_S"),
    ],
)
def test_what_does_not_go_together_is_refused(variables: dict[str, object], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        common_settings(**variables)


def test_a_third_of_the_lease_is_often_enough() -> None:
    assert common_settings(lease_s=3, renewal_s=1).times.renewal_s == 1


def test_a_watchdog_is_slower_than_the_renewals() -> None:
    with pytest.raises(SettingsError, match="must be longer than ACKED_RENEWAL_S"):
        read_worker(Env({"ACKED_WATCHDOG_S": "8", "ACKED_RENEWAL_S": "8"}))


def test_each_service_tells_its_own_and_the_common_problems_together() -> None:
    for read, name in ((read_worker, "WORKER_SLOTS"), (read_intake, "INTAKE_PORT"), (read_gateway, "GATEWAY_PORT")):
        with pytest.raises(
            SettingsError, match=rf"(?s)ACKED_LEASE_S=x.*ACKED_{name}=-1|ACKED_{name}=-1.*ACKED_LEASE_S"
        ):
            read(Env({"ACKED_LEASE_S": "x", f"ACKED_{name}": "-1"}))


def test_urls_follow_the_ports_and_lose_a_slash_at_their_end() -> None:
    assert read_gateway(Env({"ACKED_INTAKE_PORT": "9000"})).intake_url == "http://127.0.0.1:9000"
    assert read_gateway(Env({"ACKED_INTAKE_URL": "http://intake:80/"})).intake_url == "http://intake:80"
    assert read_intake(Env({"ACKED_GATEWAY_PORT": "9001"})).gateway_url == "http://localhost:9001"


def test_two_workers_on_one_machine_have_two_names() -> None:
    assert read_worker(Env({})).name.rpartition("-")[2].isdecimal()
    assert read_worker(Env({"ACKED_WORKER_NAME": "left"})).name == "left"


def test_held_limits_defaults_fit_the_connections() -> None:
    for connections in (16, 100, 8192):
        held = read_gateway(Env({"ACKED_MAX_CONNECTIONS": str(connections)})).held
        assert held.requests.of_client * 2 <= held.requests.in_all == connections
        assert held.long_polls.of_client < held.long_polls.in_all < connections
    held = read_intake(Env({})).held
    # Two load generators of one client with a thousand connections each.
    assert held.requests.of_client >= 2000 + 128
    assert held.bytes.of_client * 4 <= held.bytes.in_all


@pytest.mark.parametrize(
    "variables",
    [
        {"ACKED_REQUESTS_PER_CLIENT": "9000"},
        {"ACKED_LONG_POLLS": "8192"},
        {"ACKED_LONG_POLLS": "100", "ACKED_LONG_POLLS_PER_CLIENT": "101"},
        {"ACKED_HELD_BYTES_PER_CLIENT": "200000"},
        {"ACKED_HELD_BYTES": "30000000", "ACKED_HELD_BYTES_PER_CLIENT": "33000000"},
    ],
)
def test_held_limits_that_contradict_are_refused(variables: dict[str, str]) -> None:
    name = list(variables)[-1]
    for read in (read_gateway, read_intake):
        with pytest.raises(SettingsError, match=name):
            read(Env(variables))


def test_feeds_of_a_client_are_not_more_than_those_of_all() -> None:
    with pytest.raises(SettingsError, match="ACKED_FEEDS_PER_CLIENT=501: must be at most ACKED_FEED_CLIENTS=500"):
        read_gateway(Env({"ACKED_FEED_CLIENTS": "500", "ACKED_FEEDS_PER_CLIENT": "501"}))
    for variables, bound in (
        ({}, Bound(20_000, 1000)),
        ({"ACKED_FEED_CLIENTS": "500"}, Bound(500, 500)),
        ({"ACKED_FEED_CLIENTS": "500", "ACKED_FEEDS_PER_CLIENT": "20"}, Bound(500, 20)),
    ):
        assert read_gateway(Env(variables)).feed.clients == bound
    with pytest.raises(SettingsError, match="ACKED_FEED_CLIENTS=1000001"):
        read_gateway(Env({"ACKED_FEED_CLIENTS": "1000001"}))


@pytest.mark.parametrize(
    "url", ["localhost:8081", "ws://localhost:8081", "http://", "http://a b", "http://a/?x=1", "x"]
)
def test_url_of_a_service_that_leads_nowhere_is_refused(url: str) -> None:
    for read, name in (
        (read_gateway, "ACKED_INTAKE_URL"),
        (read_gateway, "ACKED_PUBLIC_INTAKE_URL"),
        (read_intake, "ACKED_PUBLIC_GATEWAY_URL"),
    ):
        with pytest.raises(SettingsError, match=f"{name}=.*must be http:// or https://"):
            read(Env({name: url}))


@pytest.mark.parametrize("url", ["http://intake:80", "https://[fd00::1]:8081", "https://Acked.example/jobs"])
def test_url_of_a_service_may_have_a_port_and_a_path(url: str) -> None:
    assert read_gateway(Env({"ACKED_PUBLIC_INTAKE_URL": url + "/"})).public_intake_url == url
