"""The settings file of a stack: what it may hold, how it is written, and who may read it."""

import os
import stat
from pathlib import Path

import pytest

from deploy.settings_file import NAME, SettingsFileError, changed, load, parse, save
from deploy.settings_resolution import STORED_IN_CONTAINERS, STORED_NATIVELY

KNOWN = STORED_NATIVELY


def written(folder: Path, text: bytes | str, mode: int = 0o600) -> Path:
    file = folder / NAME
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    file.chmod(mode)
    return file


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (b"", {}),
        (b"\n# a comment\n  # another\n", {}),
        (b"ACKED_ACCESS=tokens\n", {"ACKED_ACCESS": "tokens"}),
        (b"ACKED_ACCESS=tokens", {"ACKED_ACCESS": "tokens"}),
        (b" ACKED_ACCESS = tokens \n", {"ACKED_ACCESS": "tokens"}),
        (b"\xef\xbb\xbfACKED_ACCESS=tokens\r\nACKED_LEASE_S=60\r\n", {"ACKED_ACCESS": "tokens", "ACKED_LEASE_S": "60"}),
        (b"ACKED_ACCESS='tokens'\nACKED_DATABASE=\"a b\"\n", {"ACKED_ACCESS": "tokens", "ACKED_DATABASE": "a b"}),
        (b"ACKED_ACCESS=\nACKED_DATABASE=''\n", {}),
        (
            b"ACKED_MONGO_URL=mongodb://u:p=1@h/?replicaSet=a#x\n",
            {"ACKED_MONGO_URL": "mongodb://u:p=1@h/?replicaSet=a#x"},
        ),
    ],
)
def test_file_of_people_and_editors_is_read(tmp_path: Path, text: bytes, values: dict[str, str]) -> None:
    written(tmp_path, text)
    assert load(tmp_path, KNOWN).values == values


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ACKED_ACESS=tokens", r"line 1: ACKED_ACESSis not a setting: did you mean ACKED_ACCESS\?"),
        ("PATH=/bin", "line 1: PATH is not a setting of Acked"),
        ("tokens", "line 1: must be NAME=value"),
        ("\nexport ACKED_ACCESS=tokens", "line 2: must be NAME=value, without export"),
        ("ACKED_ACCESS=tokens\nACKED_ACCESS=off", "line 2: ACKED_ACCESS is in line 1 too"),
        ("ACKED_ACCESS=tokens # as it should be", "line 1: a comment needs a line of its own"),
        ("ACKED_ACCESS='tokens", "line 1: the value begins with ' and does not end with it"),
        ("ACKED_DATABASE='", "line 1: the value begins with ' and does not end with it"),
        ("ACKED_DATABASE=a\x00b", "line 1: the value has a line break or a control character"),
        ("ACKED_STATE_DIR=/tmp", "line 1: ACKED_STATE_DIR can't be stored"),
        ("ACKED_CRASH=worker.claimed:1:kill", "line 1: ACKED_CRASH can't be stored"),
        (b"ACKED_DATABASE=\xff", "is not UTF-8"),
        ("#" * 70_000, "has more than 65536 bytes"),
    ],
)
def test_line_that_means_nothing_is_refused_with_its_number(tmp_path: Path, text: str | bytes, problem: str) -> None:
    written(tmp_path, text)
    with pytest.raises(SettingsFileError, match=problem):
        load(tmp_path, KNOWN)


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o604, 0o666])
def test_file_that_others_reach_is_refused(tmp_path: Path, mode: int) -> None:
    file = written(tmp_path, "ACKED_ACCESS=off\n", mode)
    with pytest.raises(SettingsFileError, match=f"chmod 600 {file}"):
        load(tmp_path, KNOWN)


def test_what_is_no_file_is_refused_and_nothing_is_none(tmp_path: Path) -> None:
    assert not load(tmp_path, KNOWN).exists
    assert not load(tmp_path / "nowhere", KNOWN).exists
    (tmp_path / NAME).symlink_to(tmp_path / "gone")
    with pytest.raises(SettingsFileError, match="is a link to a missing file"):
        load(tmp_path, KNOWN)
    (tmp_path / NAME).unlink()
    (tmp_path / NAME).mkdir()
    with pytest.raises(SettingsFileError, match="is not a regular file"):
        load(tmp_path, KNOWN)
    (tmp_path / NAME).rmdir()
    os.mkfifo(tmp_path / NAME)
    with pytest.raises(SettingsFileError, match="is not a regular file"):
        load(tmp_path, KNOWN)


def test_change_leaves_what_people_wrote(tmp_path: Path) -> None:
    lines = ["# ours", "ACKED_LEASE_S = 60", "", "ACKED_ACCESS=tokens", "# ACKED_LEASE_S=1"]
    assert changed(lines, {"ACKED_LEASE_S": "90", "ACKED_DATABASE": "d", "ACKED_GRACE_S": ""}) == [
        "# ours",
        "ACKED_LEASE_S=90",
        "",
        "ACKED_ACCESS=tokens",
        "# ACKED_LEASE_S=1",
        "ACKED_DATABASE=d",
    ]
    assert "ACKED_ACCESS=tokens" not in changed(lines, {"ACKED_ACCESS": ""})


@pytest.mark.parametrize("value", ["plain", "a b", " edge ", "'q'", '"', "'", "a # b", "ü", "a=b", "#", '"a"b"'])
def test_every_value_is_read_as_it_was_kept(tmp_path: Path, value: str) -> None:
    save(load(tmp_path, KNOWN), {"ACKED_DATABASE": value, "ACKED_ACCESS": "tokens"})
    assert load(tmp_path, KNOWN).values == {"ACKED_DATABASE": value, "ACKED_ACCESS": "tokens"}
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == [NAME]


def test_value_of_two_lines_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(SettingsFileError, match="ACKED_DATABASE can't be stored"):
        save(load(tmp_path, KNOWN), {"ACKED_DATABASE": "a\nACKED_ACCESS=off"})
    assert not (tmp_path / NAME).exists()


def test_nothing_new_is_not_written_again(tmp_path: Path) -> None:
    save(load(tmp_path, KNOWN), {"ACKED_ACCESS": "tokens"})
    before = (tmp_path / NAME).stat().st_ino
    save(load(tmp_path, KNOWN), {"ACKED_ACCESS": "tokens", "ACKED_LEASE_S": ""})
    assert (tmp_path / NAME).stat().st_ino == before


def test_linked_file_is_changed_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = written(tmp_path / "elsewhere", "ACKED_ACCESS=tokens\n")
    (tmp_path / NAME).symlink_to(target)
    save(load(tmp_path, KNOWN), {"ACKED_LEASE_S": "60"})
    assert (tmp_path / NAME).is_symlink()
    assert target.read_text() == "ACKED_ACCESS=tokens\nACKED_LEASE_S=60\n"


def test_ports_belong_to_native_stacks_alone() -> None:
    assert parse(["ACKED_PORT_BASE=9080"], STORED_NATIVELY) == ({"ACKED_PORT_BASE": "9080"}, [])
    _, problems = parse(["ACKED_PORT_BASE=9080"], STORED_IN_CONTAINERS)
    assert problems == ["line 1: ACKED_PORT_BASE can't be stored: it is set in the shell, or by the recipes"]
