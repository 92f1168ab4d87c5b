"""The words of the recipes, and what the services are told."""

import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from acked_common.accounts.grants import Account
from acked_common.runtime.env import Env
from acked_common.runtime.settings import read_common
from deploy import runtime
from deploy.docker.containers import not_serving
from deploy.native.__main__ import UsageError, main, parse_scale, parse_services, say_next
from deploy.native.failure import log_tail
from deploy.native.launch import service_environment
from deploy.native.layout import Layout, Ports
from deploy.native.processes import is_service, is_supervisor
from deploy.native.secret import secret


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["4"], {"worker": 4}),
        (["0"], {"worker": 0}),
        (["worker=4"], {"worker": 4}),
        (["intake=2", "gateway=2"], {"intake": 2, "gateway": 2}),
        (["3", "intake=2"], {"worker": 3, "intake": 2}),
        (["64"], {"worker": 64}),
    ],
)
def test_scale_understands(words: Sequence[str], wanted: dict[str, int]) -> None:
    assert parse_scale(words) == wanted


@pytest.mark.parametrize(
    "words",
    [
        [],
        [""],
        ["four"],
        ["-1"],
        ["65"],
        ["1.5"],
        ["worker="],
        ["intake=0"],
        ["gateway=0"],
        ["mongod=2"],
        ["4 "],
        ["²"],
        ["9" * 5000],
        ["worker=2", "worker=5"],
        ["3", "worker=4"],
    ],
)
def test_scale_refuses(words: Sequence[str]) -> None:
    with pytest.raises(UsageError):
        parse_scale(words)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ([], ["intake", "gateway", "worker"]),
        (["worker"], ["worker"]),
        (["gateway", "intake", "gateway"], ["intake", "gateway"]),
    ],
)
def test_restart_understands(words: Sequence[str], meant: list[str]) -> None:
    assert parse_services(words) == meant


@pytest.mark.parametrize("words", [["mongod"], ["worker-1"], [""], ["worker", "rabbitmq"]])
def test_restart_refuses(words: Sequence[str]) -> None:
    with pytest.raises(UsageError, match="can't be restarted"):
        parse_services(words)


def test_scale_of_a_stack_that_is_down_says_what_happens(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("ACKED_STATE_DIR", str(tmp_path))
    assert main(["scale", "worker=3"]) == 0
    assert capsys.readouterr().out == "Acked is down; the next ./just up starts 1 intake, 1 gateway, 3 worker\n"
    assert main(["restart"]) == 1
    assert capsys.readouterr().err == "just restart: Acked is down; ./just up starts it\n"


def test_a_runtime_that_is_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACKED_RUNTIME", "podman")
    assert runtime.main(["status"]) == 1
    assert capsys.readouterr().err.splitlines() == ["just status: ACKED_RUNTIME=podman: must be docker or native"]


def test_status_of_a_stack_that_is_down_is_not_zero(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("ACKED_STATE_DIR", str(tmp_path))
    assert main(["status"]) == 3
    assert capsys.readouterr().out == "down; ./just up starts it\n"


@pytest.mark.parametrize("lines", ["-1", "many", "²", "1.5"])
def test_logs_refuses_what_is_no_number_of_lines(lines: str) -> None:
    with pytest.raises(SystemExit):
        main(["logs", "-n", lines])


def test_no_lines_of_a_log_are_none(tmp_path: Path) -> None:
    layout = Layout(tmp_path, Ports(9000))
    layout.logs.mkdir()
    (layout.logs / "gateway-1.log").write_text("a\nb\nc\n")
    assert [log_tail(layout, "gateway-1", lines) for lines in (0, 1, 9)] == ["", "c", "a\nb\nc"]


def container(service: str, state: str = "running", health: str = "") -> dict[str, str]:
    return {"Name": f"acked-{service}-1", "Service": service, "State": state, "Health": health}


def test_containers_that_do_not_serve_are_named() -> None:
    whole = [container("init", "exited"), container("mongo", health="healthy"), container("worker", health="healthy")]
    wanted = {"mongo": 1, "worker": 1}
    assert not_serving(whole, wanted) == []
    assert not_serving(whole[:2], wanted) == ["worker (0 of 1)"]
    assert not_serving([*whole[:2], container("worker", health="unhealthy")], wanted) == ["acked-worker-1 (unhealthy)"]
    assert not_serving([*whole[1:], container("worker", "restarting")], wanted) == ["acked-worker-1 (restarting)"]


def test_a_bad_base_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ACKED_PORT_BASE", "99")
    assert main(["status"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_services_are_told_where_all_is(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "state", Ports(9000))
    told = service_environment(layout, {"PATH": "/bin", "ACKED_LEASE_S": "3"}, Account.INTAKE)
    assert told["ACKED_MONGO_URL"] == "mongodb://intake@127.0.0.1:29002/?replicaSet=acked&authSource=acked"
    assert told["ACKED_AMQP_URL"] == "amqp://intake@127.0.0.1:29003/"
    assert told["ACKED_INTAKE_URL"] == "http://127.0.0.1:9001"
    assert (told["ACKED_GATEWAY_PORT"], told["ACKED_INTAKE_PORT"]) == ("9000", "9001")
    assert Path(told["ACKED_RUN_DIR"]) == layout.run
    assert Path(told["ACKED_WORKER_SECRET_FILE"]).read_text()
    assert (told["PATH"], told["ACKED_LEASE_S"]) == ("/bin", "3"), "what the user has set passes through"


@pytest.mark.parametrize("account", Account)
def test_service_is_told_its_own_passwords_in_files_alone(tmp_path: Path, account: Account) -> None:
    layout = Layout(tmp_path / "state", Ports(9000))
    for other in Account:
        service_environment(layout, {}, other)
    told = service_environment(layout, {"ACKED_DATABASE": "jobs/1", "ACKED_MONGO_PASSWORD": "of another"}, account)
    settings = read_common(Env(told))
    passwords = {name: (layout.secrets / f"{name}-{account}").read_text() for name in ("mongo", "amqp")}
    mongo = f"mongodb://{account}:{passwords['mongo']}@127.0.0.1:29002/?replicaSet=acked&authSource=jobs%2F1"
    assert settings.servers.mongo_url == mongo
    assert settings.servers.amqp_url == f"amqp://{account}:{passwords['amqp']}@127.0.0.1:29003/"
    values = "\n".join(told.values())
    for file in layout.secrets.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.read_text() not in values
        if file.name not in (f"mongo-{account}", f"amqp-{account}", "worker"):
            assert str(file) not in values.splitlines(), "the passwords of others are named to nobody"


def test_the_user_s_servers_win_and_an_empty_variable_is_none(tmp_path: Path) -> None:
    layout = Layout(tmp_path, Ports(9000), own_mongod=False)
    told = service_environment(
        layout, {"ACKED_MONGO_URL": "mongodb://db/?replicaSet=x", "ACKED_HANDLERS_DIR": ""}, Account.INTAKE
    )
    assert told["ACKED_MONGO_URL"] == "mongodb://db/?replicaSet=x"
    assert told["ACKED_HANDLERS_DIR"].endswith("/handlers")


def test_the_ports_come_from_the_base_alone(tmp_path: Path) -> None:
    told = service_environment(
        Layout(tmp_path, Ports(9000)), {"ACKED_GATEWAY_PORT": "1", "ACKED_INTAKE_URL": "x"}, Account.INTAKE
    )
    assert told["ACKED_GATEWAY_PORT"] == "9000"
    assert told["ACKED_INTAKE_URL"] == "http://127.0.0.1:9001"


def test_a_secret_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "amqp"
    made = secret(file)
    assert len(made) == 40
    assert secret(file) == made
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [found.name for found in file.parent.iterdir()] == ["amqp"]
    assert secret(tmp_path / "other") != made


@pytest.mark.parametrize(
    "line",
    [
        "acked-worker worker-12",
        "acked-intake",
        "/x y/.venv/bin/python -m acked_gateway",
        "/x/.venv/bin/python -m deploy.native.launch worker-1",
    ],
)
def test_services_are_told_from_servers(line: str) -> None:
    assert is_service(line)
    assert not is_supervisor(line)


@pytest.mark.parametrize(
    "line",
    [
        "/x/acked-worker/.acked/servers/mongod/mongod --dbpath /x/acked-worker/data",
        "erl_child_setup 20000",
        "/x/.venv/bin/python -m deploy.native.launch mongod",
        "/x/.venv/bin/python -m deploy.native.supervise -c /x/supervisord.conf",
        "/x/.venv/bin/python -m supervisor.supervisord -c /x/conf",
    ],
)
def test_servers_are_no_services(line: str) -> None:
    assert not is_service(line)
    assert is_supervisor(line) == ("supervisord" in line)


@pytest.mark.parametrize(
    ("port", "environ", "told"),
    [
        (8080, {}, "next: .venv/bin/acked submit demo --wait\n"),
        (9080, {}, "next: .venv/bin/acked submit demo --wait --gateway http://localhost:9080\n"),
        (8080, {"ACKED_ACCESS": "tokens"}, "next: .venv/bin/acked submit demo --wait --token-file FILE "),
    ],
)
def test_up_ends_with_a_command_to_try(
    port: int, environ: dict[str, str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    say_next({"gateway": f"http://localhost:{port}"}, environ)
    assert capsys.readouterr().out.startswith(told)
