"""Prometheus gets one target a process, at the port of this very process, and never half a file."""

import json
from pathlib import Path
from typing import Any

import pytest

from acked_common.runtime.run_file import METRICS_SUFFIX
from deploy.docker.targets import container_targets
from deploy.native.layout import Layout, Ports
from deploy.native.targets import native_targets, write_native_targets
from deploy.observed import COPIED, SHIPPED, TARGETS, copy_shipped, observed, target_group, write_targets


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path, Ports(8080))
    (made.run / "b").mkdir(parents=True)
    return made


def write_address(layout: Layout, program: str, pid: int, port: int) -> None:
    part = program.removesuffix(".b")
    (layout.run_of(program) / f"{part}.json").write_text(json.dumps({"pid": pid, "health_port": port}))


def test_each_process_of_a_service_is_a_target(layout: Layout) -> None:
    for program, pid, port in (("gateway-1", 7, 4001), ("gateway-2", 8, 4002), ("worker-1", 9, 4003)):
        write_address(layout, program, pid, port)
    pids = {"mongod": 1, "epmd": 2, "rabbitmq": 3, "worker-1": 9, "gateway-2": 8, "gateway-1": 7}
    assert native_targets(layout, pids) == [
        {"targets": ["127.0.0.1:4001"], "labels": {"service": "gateway", "process": "gateway-1"}},
        {"targets": ["127.0.0.1:4002"], "labels": {"service": "gateway", "process": "gateway-2"}},
        {"targets": ["127.0.0.1:4003"], "labels": {"service": "worker", "process": "worker-1"}},
    ]


def test_a_process_that_has_told_nothing_yet_is_none(layout: Layout) -> None:
    write_address(layout, "intake-1", 7, 4001)
    # It died, and the new one starts; or it does not run at all.
    assert native_targets(layout, {"intake-1": 8, "intake-2": 9}) == []
    assert native_targets(layout, {"intake-1": 0}) == []


def test_both_processes_of_a_part_are_targets_while_one_replaces_the_other(layout: Layout) -> None:
    write_address(layout, "worker-1", 7, 4001)
    write_address(layout, "worker-1.b", 8, 4002)
    found = native_targets(layout, {"worker-1": 7, "worker-1.b": 8})
    assert found == [target_group(f"127.0.0.1:{port}", service="worker", process="worker-1") for port in (4001, 4002)]


def test_a_port_for_metrics_alone_comes_first(layout: Layout) -> None:
    write_address(layout, "gateway-1", 7, 4001)
    file = layout.run / f"gateway-1{METRICS_SUFFIX}"
    file.write_text('{"pid": 7, "address": "[::1]:9100"}')
    assert native_targets(layout, {"gateway-1": 7})[0]["targets"] == ["[::1]:9100"]
    # Of the process before.
    file.write_text('{"pid": 6, "address": "[::1]:9100"}')
    assert native_targets(layout, {"gateway-1": 7})[0]["targets"] == ["127.0.0.1:4001"]


def test_the_file_is_replaced_whole_and_only_where_it_differs(layout: Layout) -> None:
    write_address(layout, "gateway-1", 7, 4001)
    write_native_targets(layout, {"gateway-1": 7})
    file = observed(layout.state) / TARGETS
    before = file.stat().st_ino
    assert len(json.loads(file.read_text())) == 1
    write_native_targets(layout, {"gateway-1": 7})
    assert file.stat().st_ino == before
    with file.open() as reader:
        write_targets(observed(layout.state), [])
        assert len(json.load(reader)) == 1
    assert json.loads(file.read_text()) == []
    assert [one.name for one in observed(layout.state).iterdir()] == [TARGETS]


def test_the_shipped_configuration_is_copied_as_it_is(tmp_path: Path) -> None:
    copy_shipped(tmp_path / "observe")
    assert {one.name: one.read_text() for one in (tmp_path / "observe").iterdir()} == {
        name: (SHIPPED / name).read_text() for name in COPIED
    }


def container(name: str, service: str, **networks: str) -> dict[str, Any]:
    return {
        "Name": f"/{name}",
        "Config": {"Labels": {"com.docker.compose.service": service}},
        "NetworkSettings": {"Networks": {key: {"IPAddress": address} for key, address in networks.items()}},
    }


INSPECTED = [
    container("acked-x-worker-1", "worker", **{"acked-x_outside": "172.20.0.2", "acked-x_data": "172.19.0.7"}),
    container("acked-x-gateway-1", "gateway", **{"acked-x_data": "172.19.0.5", "acked-x_edge": "172.18.0.2"}),
    container("acked-x-mongo-1", "mongo", **{"acked-x_data": "172.19.0.2"}),
    # It starts, and has no address yet.
    container("acked-x-gateway-2", "gateway", **{"acked-x_data": ""}),
]


def test_each_container_of_a_service_is_a_target_in_the_network_of_all() -> None:
    assert container_targets(INSPECTED, "acked-x", "9100") == [
        target_group("172.19.0.5:9100", service="gateway", process="acked-x-gateway-1"),
        target_group("172.19.0.7:9100", service="worker", process="acked-x-worker-1"),
    ]


@pytest.mark.parametrize("port", ["", "0"])
def test_without_a_port_for_metrics_no_container_is_a_target(port: str) -> None:
    assert container_targets(INSPECTED, "acked-x", port) == []
