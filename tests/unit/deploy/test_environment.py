"""What the services run with: kept for its owner alone, and the time that a worker gets to stop."""

import os
import stat
from pathlib import Path

import pytest

from deploy.native.environment import forget, keep, keep_for, kept, kept_for, worker_stops_within_s
from deploy.native.layout import Layout, Ports


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "state", Ports(8080))


def test_the_last_one_is_kept_until_the_stack_is_down(layout: Layout) -> None:
    assert kept(layout) is None
    keep(layout, {"ACKED_LEASE_S": "3", "A": "ü\n"})
    assert kept(layout) == {"ACKED_LEASE_S": "3", "A": "ü\n"}
    keep(layout, {"B": "2"})
    assert kept(layout) == {"B": "2"}
    forget(layout)
    forget(layout)
    assert kept(layout) is None
    assert list(layout.run.iterdir()) == []


def test_only_its_owner_can_read_it(layout: Layout) -> None:
    layout.run.mkdir(parents=True)
    left = layout.run / f".environment.json.{os.getpid()}.new"
    left.write_text("left by a process that was killed")
    left.chmod(0o644)
    keep(layout, {"KEY": "secret"})
    [file] = layout.run.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_part_is_told_what_its_role_and_it_alone_are_told(layout: Layout) -> None:
    keep(layout, {"A": "all"})
    keep_for(layout, "worker", {"A": "workers", "B": "workers"})
    keep_for(layout, "worker-2", {"B": "the second"})
    assert kept_for(layout, "worker-1") == {"A": "workers", "B": "workers"}
    assert kept_for(layout, "worker-2") == {"A": "workers", "B": "the second"}
    assert kept_for(layout, "mongod") == {}
    keep_for(layout, "worker-2", {})
    assert kept_for(layout, "worker-2") == {"A": "workers", "B": "workers"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in layout.run.iterdir()} == {0o600}
    forget(layout)
    assert list(layout.run.iterdir()) == []


def test_half_a_file_is_none(layout: Layout) -> None:
    keep(layout, {"A": "1"})
    [file] = layout.run.iterdir()
    file.write_text('{"A": ')
    assert kept(layout) is None


@pytest.mark.parametrize(
    ("drain", "seconds"),
    [
        (None, 40),
        ("", 40),
        ("25", 40),
        ("1.5", 17),
        ("600", 615),
        ("0", 15),
        ("soon", 40),
        ("-1", 40),
        ("inf", 40),
        ("nan", 40),
    ],
)
def test_a_worker_gets_its_drain_and_a_margin(drain: str | None, seconds: int) -> None:
    assert worker_stops_within_s({} if drain is None else {"ACKED_DRAIN_S": drain}) == seconds
