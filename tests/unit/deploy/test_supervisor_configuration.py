"""The supervisor's configuration: one section a part, so that scaling leaves alone what runs."""

import configparser
import shlex
from pathlib import Path

import pytest

from deploy.native import supervisor
from deploy.native.layout import ROOT, Layout, Ports
from deploy.native.restarts import restarts
from deploy.native.supervisor import part_names

ALL_SERVERS = ["epmd", "rabbitmq", "mongod"]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "a state", Ports(8080))


def render(layout: Layout, parts: list[str], *, worker_stops_within_s: int = 40) -> str:
    return supervisor.render(layout, parts, worker_stops_within_s=worker_stops_within_s)


def sections(text: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    return parser


def test_parts_start_in_the_order_of_what_they_need(layout: Layout) -> None:
    assert part_names(layout, {"worker": 2}) == [*ALL_SERVERS, "intake-1", "gateway-1", "worker-1", "worker-2"]


def test_no_worker_is_a_number_of_workers(layout: Layout) -> None:
    assert part_names(layout, {"worker": 0}) == [*ALL_SERVERS, "intake-1", "gateway-1"]


def test_servers_alone(layout: Layout) -> None:
    assert part_names(layout, {"worker": 3}, services=False) == ALL_SERVERS


def test_servers_of_the_user_are_no_parts(tmp_path: Path) -> None:
    external = Layout(tmp_path, Ports(8080), own_mongod=False, own_rabbitmq=False)
    assert part_names(external, {}) == ["intake-1", "gateway-1", "worker-1"]
    assert part_names(Layout(tmp_path, Ports(8080), own_mongod=False), {}, services=False) == ["epmd", "rabbitmq"]


def test_every_part_is_a_program_that_is_always_brought_back(layout: Layout) -> None:
    parts = part_names(layout, {"worker": 2, "intake": 2})
    rendered = sections(render(layout, parts))
    assert [name for name in rendered.sections() if name.startswith("program:")] == [f"program:{p}" for p in parts]
    for part in parts:
        program = rendered[f"program:{part}"]
        assert program["autorestart"] == "true"
        assert int(program["startretries"]) >= 10**6
        assert program["stopsignal"] == "TERM"
        assert program["killasgroup"] == "true"
        own = "stderr" if part.startswith("worker-") else "stdout"
        assert Path(program[f"{own}_logfile"]) == layout.logs / f"{part}.log"
        assert int(program[f"{own}_logfile_backups"]) >= 1


def test_output_of_handlers_has_a_log_of_its_own(layout: Layout) -> None:
    program = sections(render(layout, ["worker-1"]))["program:worker-1"]
    assert Path(program["stdout_logfile"]) == layout.logs / "worker-1.out.log"
    assert "redirect_stderr" not in program


def test_a_worker_has_time_for_its_drain_and_stops_first(layout: Layout) -> None:
    rendered = sections(render(layout, part_names(layout, {})))
    assert int(rendered["program:worker-1"]["stopwaitsecs"]) == 40
    order = sorted(part_names(layout, {}), key=lambda part: -int(rendered[f"program:{part}"]["priority"]))
    assert order[:3] == ["worker-1", "gateway-1", "intake-1"]
    assert order[-1] == "epmd"


def test_the_time_for_a_drain_follows_the_setting(layout: Layout) -> None:
    rendered = sections(render(layout, ["worker-1", "intake-1"], worker_stops_within_s=615))
    assert rendered["program:worker-1"]["stopwaitsecs"] == "615"
    assert rendered["program:intake-1"]["stopwaitsecs"] == "20"


def test_a_section_does_not_depend_on_how_many_there_are(layout: Layout) -> None:
    one = sections(render(layout, part_names(layout, {"worker": 1})))
    four = sections(render(layout, part_names(layout, {"worker": 4, "intake": 2, "gateway": 2})))
    for name in one.sections():
        assert dict(one[name]) == dict(four[name]), "a section that changes restarts its part"


def test_a_path_with_a_space_stays_one_word(layout: Layout) -> None:
    command = sections(render(layout, ["mongod"]))["program:mongod"]["command"]
    assert shlex.split(command) == [str(ROOT / ".venv/bin/python"), "-m", "deploy.native.launch", "mongod"]


def test_a_percent_sign_in_a_path_starts_no_expansion(tmp_path: Path) -> None:
    text = render(Layout(tmp_path / "100%(x)s", Ports(8080)), ["mongod"])
    assert "100%%(x)s" in text
    assert "100%(x)s" not in text.replace("%%", "")


def test_restarts_are_counted_from_the_last_start_of_the_supervisor(layout: Layout) -> None:
    layout.logs.mkdir(parents=True)
    assert restarts(layout) == {}
    (layout.logs / "supervisor.log").write_text(
        "2026-01-01 10:00:00,000 INFO supervisord started with pid 10\n"
        "2026-01-01 10:00:01,000 INFO spawned: 'mongod' with pid 11\n"
        "2026-01-01 10:00:02,000 INFO spawned: 'mongod' with pid 12\n"
        "2026-01-01 11:00:00,000 INFO supervisord started with pid 20\n"
        "2026-01-01 11:00:01,000 INFO spawned: 'mongod' with pid 21\n"
        "2026-01-01 11:00:01,000 INFO spawned: 'worker-1' with pid 22\n"
        "2026-01-01 11:00:05,000 INFO spawned: 'worker-1' with pid 23\n"
        "2026-01-01 11:00:09,000 INFO spawned: 'worker-1' with pid 24\n"
    )
    assert restarts(layout) == {"mongod": 0, "worker-1": 2}
