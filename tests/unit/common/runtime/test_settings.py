"""Settings: the documented defaults, every problem at once, and what may not be combined."""

from collections.abc import Callable
from pathlib import Path

import pytest

from acked_common.http.settings import Bound
from acked_common.runtime.env import Env, SettingsError
from acked_common.runtime.settings import read_common, require_access
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


def test_an_empty_variable_is_as_if_it_were_not_set() -> None:
    env = Env({"ACKED_A": "", "ACKED_B": "  ", "ACKED_C": " x "})
    assert (env.text("ACKED_A", "d"), env.text("ACKED_B", "d"), env.text("ACKED_C", "d")) == ("d", "d", "x")
    assert (env.whole("ACKED_A", 7), env.seconds("ACKED_B", 1.5), env.path("ACKED_A")) == (7, 1.5, None)
    env.finish()


def test_lists_and_paths_are_read() -> None:
    env = Env({"ACKED_N": "a, b,,c ,", "ACKED_P": "some/where"})
    assert env.names("ACKED_N") == ("a", "b", "c")
    assert env.names("ACKED_M", "x,y") == ("x", "y")
    assert env.path("ACKED_P") == Path("some/where")


def test_all_problems_are_told_at_once() -> None:
    env = Env({"ACKED_A": "many", "ACKED_B": "0", "ACKED_C": "soon", "ACKED_D": "1e9"})
    env.whole("ACKED_A", 1)
    env.whole("ACKED_B", 1, at_least=1)
    env.seconds("ACKED_C", 1.0)
    env.seconds("ACKED_D", 1.0, at_most=60)
    env.require(False, "two that do not go together")
    with pytest.raises(SettingsError) as caught:
        env.finish()
    lines = str(caught.value).splitlines()[1:]
    assert [line.split(":")[0].strip() for line in lines] == [
        "ACKED_A=many",
        "ACKED_B=0",
        "ACKED_C=soon",
        "ACKED_D=1e9",
        "two that do not go together",
    ]
    assert "between 1 and" in str(caught.value)
    assert "not a number of seconds" in str(caught.value)


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "-inf", "1e400", "0x10", "1,5"])
def test_a_duration_is_a_finite_positive_number(text: str) -> None:
    env = Env({"ACKED_A": text})
    assert env.seconds("ACKED_A", 2.0) == 2.0
    with pytest.raises(SettingsError, match="ACKED_A="):
        env.finish()


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


@pytest.mark.parametrize("value", ["0123456789abcdef", "x" * 100])
def test_a_secret_comes_from_the_variable_or_from_a_file(tmp_path: Path, value: str) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{value}\n")
    assert Env({}).secret("ACKED_X") is None
    assert Env({"ACKED_X": value}).secret("ACKED_X") == value
    assert Env({"ACKED_X_FILE": str(file)}).secret("ACKED_X") == value
    assert Env({"ACKED_X": "y" * 16, "ACKED_X_FILE": str(file)}).secret("ACKED_X") == "y" * 16


@pytest.mark.parametrize(
    "value", ["short", "with a space in the middle", "kein-ascii-zeichen-ä", "tab\tinside-of-it-all"]
)
def test_a_secret_that_can_not_be_sent_is_refused_and_not_shown(tmp_path: Path, value: str) -> None:
    file = tmp_path / "secret"
    file.write_text(value)
    for variables in ({"ACKED_X": value}, {"ACKED_X_FILE": str(file)}):
        env = Env(variables)
        assert env.secret("ACKED_X") is None
        with pytest.raises(SettingsError) as caught:
            env.finish()
        assert "ACKED_X" in str(caught.value)
        assert value not in str(caught.value)


def test_a_secret_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    env = Env({"ACKED_X_FILE": str(tmp_path / "none")})
    assert env.secret("ACKED_X") is None
    with pytest.raises(SettingsError, match="ACKED_X_FILE="):
        env.finish()


@pytest.mark.parametrize(
    ("variables", "is_fine", "asks"),
    [
        ({}, True, False),
        ({"ACKED_ACCESS": "off"}, True, False),
        ({"ACKED_ACCESS": "tokens"}, True, True),
        ({"ACKED_HOST": "::1"}, True, False),
        ({"ACKED_HOST": "localhost"}, True, False),
        ({"ACKED_HOST": "0.0.0.0"}, False, False),
        ({"ACKED_HOST": "::"}, False, False),
        ({"ACKED_HOST": "192.0.2.1", "ACKED_ACCESS": "off"}, False, False),
        ({"ACKED_HOST": "acked.example"}, False, False),
        ({"ACKED_HOST": "0.0.0.0", "ACKED_ACCESS": "tokens"}, True, True),
        ({"ACKED_HOST": "0.0.0.0", "ACKED_PUBLISHED_ON_LOOPBACK": "yes"}, True, False),
        ({"ACKED_HOST": "0.0.0.0", "ACKED_PUBLISHED_ON_LOOPBACK": "no"}, False, False),
        ({"ACKED_HOST": "0.0.0.0", "ACKED_PUBLISH_ADDRESS": "127.0.0.1"}, True, False),
        ({"ACKED_HOST": "0.0.0.0", "ACKED_PUBLISH_ADDRESS": "[::1]"}, True, False),
        ({"ACKED_HOST": "0.0.0.0", "ACKED_PUBLISH_ADDRESS": "0.0.0.0"}, False, False),
        ({"ACKED_HOST": "0.0.0.0", "ACKED_PUBLISH_ADDRESS": "192.0.2.1", "ACKED_ACCESS": "tokens"}, True, True),
        (
            {"ACKED_HOST": "0.0.0.0", "ACKED_PUBLISH_ADDRESS": "192.0.2.1", "ACKED_PUBLISHED_ON_LOOPBACK": "yes"},
            False,
            False,
        ),
        (
            {"ACKED_HOST": "0.0.0.0", "ACKED_PUBLISH_ADDRESS": "127.0.0.1", "ACKED_PUBLISHED_ON_LOOPBACK": "no"},
            False,
            False,
        ),
        ({"ACKED_ACCESS": "maybe"}, False, False),
        ({"ACKED_PUBLISHED_ON_LOOPBACK": "1"}, False, False),
    ],
)
def test_who_listens_for_others_asks_for_tokens(variables: dict[str, str], is_fine: bool, asks: bool) -> None:
    env = Env(variables)
    settings = read_common(env)
    require_access(env, settings)
    if not is_fine:
        with pytest.raises(SettingsError, match=r"ACKED_(ACCESS|HOST|PUBLISHED)"):
            env.finish()
        return
    env.finish()
    assert settings.access.asks_for_tokens == asks


@pytest.mark.parametrize("read", [read_gateway, read_intake])
def test_a_service_for_others_does_not_start_without_tokens(read: Callable[[Env], object]) -> None:
    with pytest.raises(SettingsError, match=r"ACKED_ACCESS=tokens and make tokens with \./just token make"):
        read(Env({"ACKED_HOST": "0.0.0.0"}))


@pytest.mark.parametrize("read", [read_gateway, read_intake, read_worker])
def test_variables_of_kubernetes_are_no_settings(read: Callable[[Env], object]) -> None:
    of_services = {
        **{f"ACKED_{name}_SERVICE_HOST": "10.0.0.7" for name in ("GATEWAY", "INTAKE", "HEALTH")},
        **{f"ACKED_{name}_SERVICE_PORT": "8080" for name in ("GATEWAY", "INTAKE", "HEALTH")},
        **{f"ACKED_{name}_SERVICE_PORT_HTTP": "8080" for name in ("GATEWAY", "INTAKE", "HEALTH")},
        **{f"ACKED_{name}_PORT": "tcp://10.0.0.7:8080" for name in ("GATEWAY", "INTAKE", "HEALTH")},
        **{f"ACKED_{name}_PORT_8080_TCP": "tcp://10.0.0.7:8080" for name in ("GATEWAY", "INTAKE", "HEALTH")},
        **{
            f"ACKED_{name}_PORT_8080_TCP_{end}": "x"
            for name in ("GATEWAY", "MY_OWN")
            for end in ("PROTO", "PORT", "ADDR")
        },
        "ACKED_PORT": "tcp://10.0.0.7:8080",
        "ACKED_SERVICE_HOST": "10.0.0.7",
    }
    env = Env(of_services)
    settings = read(env)
    assert settings == read(Env({}))
    assert env.unknown == ()


def test_unknown_settings_are_named_once_with_the_nearest() -> None:
    env = Env({"ACKED_ACESS": "tokens", "ACKED_XYZZY": "1", "ACKED_TEST_ROUNDS": "2", "PATH": "/bin"})
    settings = read_common(env)
    env.finish()
    assert settings.warnings == [
        "ignored: ACKED_ACESS is no setting: did you mean ACKED_ACCESS?",
        "ignored: ACKED_XYZZY is no setting; docs/settings.md lists all of them",
    ]


def test_a_crash_point_is_armed_on_loopback_alone_and_must_be_one() -> None:
    assert read_common(Env({})).crash is None
    assert read_common(Env({"ACKED_CRASH": "worker.claimed:3:kill"})).crash is not None
    for environ, problem in (
        ({"ACKED_CRASH": "worker.claimed:3:kill", "ACKED_HOST": "192.0.2.1"}, "refused while ACKED_HOST=192.0.2.1"),
        ({"ACKED_CRASH": "worker.claimed:3"}, "must be point:n:what"),
    ):
        env = Env(environ)
        read_common(env)
        with pytest.raises(SettingsError, match=problem):
            env.finish()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "mongodb://worker@mongo:27017/?replicaSet=acked",
            "mongodb://worker:p%40%2F%3Aword-of-16-chars@mongo:27017/?replicaSet=acked",
        ),
        ("mongodb://worker@one:1,two:2/db", "mongodb://worker:p%40%2F%3Aword-of-16-chars@one:1,two:2/db"),
        ("mongodb://worker@mongo", "mongodb://worker:p%40%2F%3Aword-of-16-chars@mongo"),
    ],
)
def test_a_password_of_its_own_is_put_into_the_url(tmp_path: Path, url: str, expected: str) -> None:
    file = tmp_path / "password"
    file.write_text("p@/:word-of-16-chars\n")
    settings = common_settings(mongo_url=url, mongo_password_file=file)
    assert settings.servers.mongo_url == expected
    assert not settings.has_development_secret


@pytest.mark.parametrize("url", ["amqp://rabbitmq:5672/", "amqp://worker:known@rabbitmq:5672/"])
def test_a_password_wants_a_url_with_a_user_and_without_a_password(url: str) -> None:
    with pytest.raises(SettingsError, match="ACKED_AMQP_PASSWORD is set: ACKED_AMQP_URL must have a user") as caught:
        common_settings(amqp_url=url, amqp_password="a-password-of-its-own")
    assert "known" not in str(caught.value)


def test_passwords_are_no_part_of_what_settings_show_of_themselves() -> None:
    settings = common_settings(
        mongo_url="mongodb://u@mongo",
        mongo_password="the-mongo-password",
        amqp_url="amqp://u:the-amqp-password@rabbitmq",
    )
    assert "the-" not in repr(settings)


def test_a_secret_of_the_repository_is_noticed() -> None:
    assert common_settings(
        amqp_url="amqp://worker@rabbitmq", amqp_password="acked-development-amqp-worker"
    ).has_development_secret


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("https://app.example", ("https://app.example",)),
        ("HTTPS://App.Example:443", ("https://app.example",)),
        ("http://localhost:80,http://localhost:3000", ("http://localhost", "http://localhost:3000")),
        ("https://app.example:80, http://app.example:443", ("https://app.example:80", "http://app.example:443")),
        ("http://[::1]:3000", ("http://[::1]:3000",)),
        ("http://127.0.0.1:3000, http://127.0.0.1:3000", ("http://127.0.0.1:3000",)),
        ("https://xn--bcher-kva.example", ("https://xn--bcher-kva.example",)),
        ("chrome-extension://abcdefghijklmnop", ("chrome-extension://abcdefghijklmnop",)),
    ],
)
def test_origins_are_read_as_browsers_write_them(text: str, origins: tuple[str, ...]) -> None:
    assert common_settings(allowed_origins=text).access.allowed_origins == origins


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("*", "name each origin"),
        ("null", "http://localhost:3000"),
        ("https://app.example/", "write https://app.example"),
        ("https://app.example:8443/path?x#y", "write https://app.example:8443"),
        ("app.example", "scheme://host"),
        ("//app.example", "scheme://host"),
        ("https://", "scheme://host"),
        ("https://*.app.example", "scheme://host"),
        ("https://user@app.example", "scheme://host"),
        ("https://b\u00fccher.example", "scheme://host"),
        ("https://app.example:0", "1 to 65535"),
        ("https://app.example:65536", "1 to 65535"),
        ("https://app.example:", "scheme://host"),
        ("https://good.example https://app.example", "scheme://host"),
    ],
)
def test_origins_that_never_match_are_refused_with_advice(text: str, advice: str) -> None:
    with pytest.raises(SettingsError) as caught:
        common_settings(allowed_origins=f"https://good.example, {text}")
    (line,) = str(caught.value).splitlines()[1:]
    assert line.strip().startswith(f"ACKED_ALLOWED_ORIGINS: {text}: ")
    assert advice in line


def test_hosts_that_never_match_are_refused_with_advice() -> None:
    good = ("acked.example", "ACKED.example:8443", "gateway", "acked_gateway", "[fd00::1]", "[::1]:8080", "10.0.0.1")
    assert common_settings(allowed_hosts=",".join(good)).access.allowed_hosts == good
    for bad in (
        "*",
        "*.example",
        "https://acked.example",
        "acked.example/",
        "::1",
        "a b",
        "acked.example:",
        "b\u00fccher",
    ):
        with pytest.raises(SettingsError, match=r"ACKED_ALLOWED_HOSTS: .*write each name by itself"):
            common_settings(allowed_hosts=bad)


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
