"""Settings that open access: listening hosts, tokens, passwords, origins, host names."""

from collections.abc import Callable
from pathlib import Path

import pytest

from acked_common.runtime.env import Env, SettingsError
from acked_common.runtime.settings import read_common, require_access
from acked_gateway.settings import read_settings as read_gateway
from acked_intake.settings import read_settings as read_intake
from support.parts import common_settings


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


def test_a_failpoint_is_armed_on_loopback_alone_and_must_be_one() -> None:
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
        ("*", "list each origin"),
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
