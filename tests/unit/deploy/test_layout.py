"""Ports from one base, and where a stack keeps its things."""

import os
from pathlib import Path

import pytest

from deploy.native.layout import MAX_PORT_BASE, ROOT, Layout, LayoutError, Ports, layout_from

SOCKET_LIMIT = 107


def all_ports(base: int) -> list[int]:
    ports = Ports(base)
    return [ports.gateway, ports.intake, ports.mongod, ports.amqp, ports.epmd, ports.erlang]


def test_ports_follow_the_base() -> None:
    assert all_ports(8080) == [8080, 8081, 28082, 28083, 28084, 28085]


def test_stacks_ten_apart_share_no_port() -> None:
    taken = [port for base in range(8080, 8180, 10) for port in all_ports(base)]
    assert len(set(taken)) == len(taken)


def test_the_highest_base_has_ports_that_exist() -> None:
    assert max(all_ports(MAX_PORT_BASE)) <= 65_535


def test_without_settings_the_stack_is_in_the_checkout() -> None:
    layout = layout_from({})
    assert layout.state == ROOT / ".acked" / "native"
    assert layout.ports.base == 8080
    assert layout.own_mongod
    assert layout.own_rabbitmq
    assert layout.servers == ROOT / ".acked" / "servers"


def test_servers_of_the_user_replace_the_private_ones() -> None:
    layout = layout_from({"ACKED_MONGO_URL": "mongodb://db/", "ACKED_AMQP_URL": ""})
    assert not layout.own_mongod
    assert layout.own_rabbitmq


@pytest.mark.parametrize("text", ["80", "0", "-8080", "8080.0", "x", "70000", str(MAX_PORT_BASE + 1), "²", "9" * 5000])
def test_a_base_that_can_not_be_is_refused(text: str) -> None:
    with pytest.raises(LayoutError, match="ACKED_PORT_BASE"):
        layout_from({"ACKED_PORT_BASE": text})


def test_another_state_folder_shares_the_servers(tmp_path: Path) -> None:
    layout = layout_from({"ACKED_STATE_DIR": str(tmp_path / "a" / ".." / "b c")})
    assert layout.state == (tmp_path / "b c").resolve()
    assert layout.servers == ROOT / ".acked" / "servers"
    assert layout.mongo_data.is_relative_to(layout.state)
    assert layout.rabbit_home.is_relative_to(layout.state)


def test_the_socket_is_in_the_state_folder_where_its_path_is_short() -> None:
    assert Layout(Path("/s"), Ports(8080)).socket == Path("/s/run/supervisor.sock")


@pytest.mark.parametrize("length", [70, 80, 85, 90, 200])
def test_the_path_of_the_socket_is_never_too_long(length: int) -> None:
    socket = Layout(Path("/" + "d" * length), Ports(8080)).socket
    # The supervisor makes it under this name with its process id first.
    assert len(os.fsencode(socket)) + len(".4194304") <= SOCKET_LIMIT


def test_every_shell_finds_the_same_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(Path("/" + "d" * 120), Ports(8080))
    here = layout.socket
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    monkeypatch.setenv("TMPDIR", "/var/tmp")
    assert layout.socket == here
    assert Layout(Path("/" + "e" * 120), Ports(8080)).socket != here
