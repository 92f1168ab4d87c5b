"""The requested settings of a stack, their sources, and which changes of a running one are refused."""

from pathlib import Path

import pytest

from deploy.settings_file import NAME, load
from deploy.settings_resolution import (
    STORED_NATIVELY,
    Difference,
    SettingsRefusedError,
    differences,
    opens_access,
    refuse_opening,
    refuse_unknown,
    refuse_unusable,
    resolve_settings,
    set_and_show,
    shown,
)


def test_shell_wins_and_the_rest_is_kept(tmp_path: Path) -> None:
    first = resolve_settings(
        {"ACKED_ACCESS": "tokens", "ACKED_LEASE_S": "60", "HOME": "/h"}, tmp_path, None, STORED_NATIVELY
    )
    first.store()
    second = resolve_settings({"ACKED_LEASE_S": "90", "HOME": "/h"}, tmp_path, None, STORED_NATIVELY)
    assert second.environ == {"ACKED_ACCESS": "tokens", "ACKED_LEASE_S": "90", "HOME": "/h"}
    assert second.lines == [
        f"settings ({tmp_path / NAME}):",
        "  ACKED_ACCESS=tokens  stored",
        "  ACKED_LEASE_S=90     this shell, instead of 60",
    ]
    second.store()
    assert resolve_settings({}, tmp_path, None, STORED_NATIVELY).environ == {
        "ACKED_ACCESS": "tokens",
        "ACKED_LEASE_S": "90",
    }


@pytest.mark.parametrize("empty", ["", "  "])
def test_empty_variable_of_a_shell_says_nothing(tmp_path: Path, empty: str) -> None:
    resolve_settings({"ACKED_ACCESS": "tokens"}, tmp_path, None, STORED_NATIVELY).store()
    assert (
        resolve_settings({"ACKED_ACCESS": empty}, tmp_path, None, STORED_NATIVELY).environ["ACKED_ACCESS"] == "tokens"
    )


def test_what_one_shell_means_is_not_kept(tmp_path: Path) -> None:
    shell = {"ACKED_STATE_DIR": str(tmp_path), "ACKED_RUNTIME": "native", "ACKED_CRASH": "worker.claimed:1:kill"}
    wanted = resolve_settings(shell, tmp_path, None, STORED_NATIVELY)
    wanted.store()
    assert wanted.environ == shell
    assert wanted.lines == []
    assert not (tmp_path / NAME).exists()


def test_stack_without_a_file_keeps_what_runs(tmp_path: Path) -> None:
    running = {"ACKED_ACCESS": "tokens", "ACKED_STATE_DIR": "/s", "PATH": "/bin", "ACKED_GRACE_S": ""}
    wanted = resolve_settings({"ACKED_LEASE_S": "60"}, tmp_path, running, STORED_NATIVELY)
    assert wanted.environ == {"ACKED_ACCESS": "tokens", "ACKED_LEASE_S": "60"}
    wanted.store()
    assert load(tmp_path, STORED_NATIVELY).values == {"ACKED_ACCESS": "tokens", "ACKED_LEASE_S": "60"}
    assert "running" in "\n".join(wanted.lines)


@pytest.mark.parametrize(
    ("name", "before", "after", "opens"),
    [
        ("ACKED_ACCESS", "tokens", "off", True),
        ("ACKED_ACCESS", "tokens", "", True),
        ("ACKED_ACCESS", "Tokens", "tokens", False),
        ("ACKED_ACCESS", "off", "tokens", False),
        ("ACKED_HOST", "", "0.0.0.0", True),
        ("ACKED_HOST", "192.0.2.1", "::", True),
        ("ACKED_HOST", "0.0.0.0", "", False),
        ("ACKED_HOST", "127.0.0.1", "::1", False),
        ("ACKED_PUBLISH_ADDRESS", "127.0.0.1", "192.0.2.1", True),
        ("ACKED_PUBLISH_ADDRESS", "", "[::1]", False),
        ("ACKED_PUBLISHED_ON_LOOPBACK", "no", "yes", True),
        ("ACKED_ALLOWED_HOSTS", "a", "a, b", True),
        ("ACKED_ALLOWED_HOSTS", "a,b", "b", False),
        ("ACKED_ALLOWED_ORIGINS", "", "https://x", True),
        ("ACKED_HTTP_CALL_ALLOW", "", "10.0.0.1", True),
        ("ACKED_LEASE_S", "30", "60", False),
    ],
)
def test_change_that_lets_others_in_opens_a_door(name: str, before: str, after: str, opens: bool) -> None:
    assert opens_access(name, before, after) == opens


def test_running_stack_refuses_to_open_and_names_the_way() -> None:
    found = differences({"ACKED_ACCESS": "tokens", "ACKED_LEASE_S": "30"}, {"ACKED_LEASE_S": "60"}, STORED_NATIVELY)
    assert [one.name for one in found] == ["ACKED_ACCESS", "ACKED_LEASE_S"]
    with pytest.raises(
        SettingsRefusedError, match=r"ACKED_ACCESS: running with tokens, requested the default\n.*restart --open"
    ):
        refuse_opening(found)
    refuse_opening(found[1:])
    assert Difference("ACKED_ACCESS", "off", "tokens").closes


def test_unknown_variable_is_refused_with_the_nearest() -> None:
    refuse_unknown({"ACKED_TEST_ROUNDS": "5", "ACKED_GATEWAY_PORT": "tcp://10.0.0.1:8080", "HOME": "/"})
    with pytest.raises(
        SettingsRefusedError, match=r"ACKED_ALLOWED_ORIGINis not a setting: did you mean ACKED_ALLOWED_ORIGINS\?"
    ):
        refuse_unknown({"ACKED_ALLOWED_ORIGIN": "https://x"})


def test_unusable_values_are_said_once_before_anything_starts() -> None:
    environ = {"ACKED_LEASE_S": "soon", "ACKED_HOST": "0.0.0.0"}
    with pytest.raises(SettingsRefusedError) as caught:
        refuse_unusable([environ] * 3)
    lines = str(caught.value).splitlines()
    assert lines[1] == "  ACKED_LEASE_S=soon: not a number of seconds"
    assert lines[2].startswith("  ACKED_HOST=0.0.0.0: others than this machine")
    assert len(lines) == 3


def test_passwords_are_not_shown() -> None:
    assert shown("ACKED_WORKER_SECRET", "s" * 16) == "…"
    assert shown("ACKED_MONGO_URL", "mongodb://u:p@h/?a") == "mongodb://u:…@h/?a"
    assert "hidden" not in str(Difference("ACKED_AMQP_URL", "", "amqp://u:hidden@h/"))


def test_settings_recipe_sets_takes_back_and_refuses(tmp_path: Path) -> None:
    nothing = resolve_settings({}, tmp_path, None, STORED_NATIVELY)
    assert set_and_show(nothing, [], STORED_NATIVELY) == [f"{tmp_path / NAME}: nothing is set"]
    shown_lines = set_and_show(nothing, ["ACKED_ACCESS=tokens", "ACKED_LEASE_S=60"], STORED_NATIVELY)
    assert shown_lines[1:] == ["  ACKED_ACCESS=tokens", "  ACKED_LEASE_S=60"]
    now = resolve_settings({"ACKED_ACCESS": "off"}, tmp_path, None, STORED_NATIVELY)
    assert set_and_show(now, ["ACKED_LEASE_S="], STORED_NATIVELY)[1:] == [
        "  ACKED_ACCESS=tokens",
        "  (ACKED_ACCESS has another value in this shell, which wins)",
    ]
    for word in ("ACKED_ACCESS", "ACKED_ACESS=off", "PATH=/", "ACKED_STATE_DIR=/x"):
        with pytest.raises(SettingsRefusedError):
            set_and_show(now, [word], STORED_NATIVELY)
    assert load(tmp_path, STORED_NATIVELY).values == {"ACKED_ACCESS": "tokens"}
