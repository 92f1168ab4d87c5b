"""What is checked before a stack starts: each problem is one line that says what to do."""

import os
import socket
from pathlib import Path

import pytest

from deploy.native import ports, preflight
from deploy.native.layout import SERVER_PORT_OFFSET, Layout, Ports


def ephemeral_ports() -> tuple[int, int]:
    low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    return int(low), int(high)


def test_ports_of_outgoing_connections_are_warned_of_in_one_line(tmp_path: Path) -> None:
    low, _ = ephemeral_ports()
    highest_safe = low - SERVER_PORT_OFFSET - 6
    assert preflight.warnings(Layout(tmp_path, Ports(highest_safe))) == []
    [line] = preflight.warnings(Layout(tmp_path, Ports(highest_safe + 1)))
    assert f"port {low} for Erlang" in line
    assert f"choose an ACKED_PORT_BASE up to {highest_safe}" in line
    assert "\n" not in line


def test_only_ports_of_own_servers_are_warned_of(tmp_path: Path) -> None:
    low, _ = ephemeral_ports()
    above = Ports(low - SERVER_PORT_OFFSET)
    assert preflight.warnings(Layout(tmp_path, above, own_mongod=False, own_rabbitmq=False)) == []


@pytest.mark.parametrize(("base", "refused"), [(10_080, "10080 of the gateway"), (10_079, "10080 of intake")])
def test_a_port_that_browsers_refuse_is_warned_of(tmp_path: Path, base: int, refused: str) -> None:
    [line] = preflight.warnings(Layout(tmp_path, Ports(base)))
    assert line == f"browsers refuse to open port {refused}: choose another ACKED_PORT_BASE to see its pages"


def test_tests_get_no_port_that_browsers_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "is_free", lambda port: True)
    assert ports.free_port_base(near=10_080) == 10_090
    assert ports.free_port_base(near=6_669) == 6_689


def test_a_port_that_is_taken_is_named_with_its_holder_and_a_way_out(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        layout = Layout(tmp_path, Ports(port), own_mongod=False, own_rabbitmq=False)
        [line] = [line for line in preflight.problems(layout) if str(port) in line]
    assert line.startswith(f"port {port} for the gateway is taken by ")
    assert f"(pid {os.getpid()})" in line
    base = int(line.rsplit("ACKED_PORT_BASE=", 1)[1])
    assert preflight.is_free(base)
    assert preflight.is_free(base + 1)


def test_little_room_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "MIN_FREE_BYTES", 2**60)
    found = preflight.problems(Layout(tmp_path, Ports(1024), own_mongod=False, own_rabbitmq=False))
    assert any("GiB are free" in line and "free at least 2 GiB" in line for line in found)
