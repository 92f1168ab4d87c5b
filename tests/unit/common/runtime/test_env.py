"""How variables are read: types, files, unknown names, and all problems at once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from acked_common.runtime.env import Env, SettingsError
from acked_common.runtime.settings import read_common
from acked_gateway.settings import read_settings as read_gateway
from acked_intake.settings import read_settings as read_intake
from acked_worker.settings import read_settings as read_worker


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
        "ignored: ACKED_ACESSis not a setting: did you mean ACKED_ACCESS?",
        "ignored: ACKED_XYZZYis not a setting; docs/settings.md lists all of them",
    ]
