"""Which nodes of RabbitMQ a setting names, and what is refused at start."""

from pathlib import Path

import pytest
from aio_pika.connection import make_url

from acked_common.runtime.broker_addresses import addresses
from acked_common.runtime.env import Env, SettingsError
from acked_common.runtime.settings import read_common

SECRET = "kept-in-no-message"


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("amqp://u:p@a:5672/", ["amqp://u:p@a:5672/"]),
        ("amqp://u:p@a", ["amqp://u:p@a:5672/"]),
        ("amqps://u:p@a/v", ["amqps://u:p@a:5671/v"]),
        ("amqp://a,b", ["amqp://a:5672/", "amqp://b:5672/"]),
        ("amqp://u:p@a:5672,b:5673,a:5672/v", ["amqp://u:p@a:5672/v", "amqp://u:p@b:5673/v"]),
        ("amqp://u:p@a, b/v?heartbeat=5", ["amqp://u:p@a:5672/v?heartbeat=5", "amqp://u:p@b:5672/v?heartbeat=5"]),
        ("amqp://u:p@[::1],[2001:db8::1]:7/", ["amqp://u:p@[::1]:5672/", "amqp://u:p@[2001:db8::1]:7/"]),
        ("amqp://u:p%40%2C@a/%2F", ["amqp://u:p%40%2C@a:5672/%2F"]),
        ("amqp://u:p,x@a,b/", ["amqp://u:p,x@a:5672/", "amqp://u:p,x@b:5672/"]),
        ("amqp://u:p@a/v,amqps://x:y@b,c/w", ["amqp://u:p@a:5672/v", "amqps://x:y@b:5671/w", "amqps://x:y@c:5671/w"]),
        ("AMQP://a", ["amqp://a:5672/"]),
    ],
)
def test_every_host_becomes_a_url_of_its_own(text: str, urls: list[str]) -> None:
    found = addresses(text)
    assert [address.url for address in found] == urls
    for address in found:
        assert f"{make_url(address.url).host_port_subcomponent}" == address.name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"http://u:{SECRET}@a/", "amqp://"),
        ("rabbit:5672", "amqp://"),
        ("", "amqp://"),
        (f"amqp://u:{SECRET}@", "empty host"),
        (f"amqp://u:{SECRET}@a,,b/", "empty host"),
        (f"amqp://u:{SECRET}@a,/", "empty host"),
        (f"amqp://u:{SECRET}@a:x/", "'a:x'"),
        (f"amqp://u:{SECRET}@a:70000,b/", "'a:70000'"),
        (f"amqp://u:{SECRET}@a:0/", "'a:0'"),
        (f"amqp://u:{SECRET}@a:/", "'a:'"),
        (f"amqp://u:{SECRET}@[::1/", "[::1"),
        (f"amqp://u:{SECRET}@a b/", "'a b'"),
        (f"amqp://u:{SECRET}@a/v/w", "%2F"),
        (f"amqp://u:{SECRET}@a/v#x", "%2F"),
        (f"amqp://u:{SECRET}@{','.join(f'h{n}' for n in range(33))}/", "33 hosts"),
        (f"amqp://u:{SECRET}@a/,http://b", "amqp://"),
    ],
)
def test_what_names_no_node_is_refused_without_the_password(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        addresses(text)
    assert says in str(raised.value)
    assert SECRET not in str(raised.value)
    if text:
        env = Env({"ACKED_AMQP_URL": text})
        read_common(env)
        with pytest.raises(SettingsError, match="ACKED_AMQP_URL: ") as refused:
            env.finish()
        assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "urls"),
    [
        ("amqp://u@a,b:7/v", ["amqp://u:{}@a:5672/v", "amqp://u:{}@b:7/v"]),
        ("amqp://u@a,amqp://w@b", ["amqp://u:{}@a:5672/", "amqp://w:{}@b:5672/"]),
    ],
)
def test_a_password_that_is_set_apart_is_that_of_all_hosts(tmp_path: Path, url: str, urls: list[str]) -> None:
    password = "a/b@c,d:e-and-more"
    file = tmp_path / "password"
    file.write_text(password)
    env = Env({"ACKED_AMQP_URL": url, "ACKED_AMQP_PASSWORD_FILE": str(file)})
    settings = read_common(env)
    env.finish()
    found = addresses(settings.servers.amqp_url)
    assert [address.url for address in found] == [one.format("a%2Fb%40c%2Cd%3Ae-and-more") for one in urls]
    assert all(make_url(address.url).password == password for address in found)
    assert "and-more" not in repr(found) + repr(settings)
