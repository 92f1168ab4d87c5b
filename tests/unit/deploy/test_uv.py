"""uv gets what pip is told: a machine behind a mirror of its own can install."""

from pathlib import Path

import pytest

from deploy.native.uv import pip_files, pip_settings, uv_environment

MIRROR = "https://mirror.example/simple"


def written(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_without_settings_uv_is_left_alone() -> None:
    assert uv_environment({"PATH": "/bin"}, {}, whole_index=False) == {
        "PATH": "/bin",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
    }


def test_stronger_files_and_variables_win(tmp_path: Path) -> None:
    weak = written(tmp_path, "weak", "[global]\nindex-url = https://weak.example\ncert = /weak.pem\n")
    strong = written(tmp_path, "strong", f"[global]\nindex_url = {MIRROR}\n[install]\nfind-links =\n  /a\n  /b\n")
    found = pip_settings({"PIP_CERT": "/env.pem"}, [tmp_path / "none", weak, strong])
    assert found == {"index-url": MIRROR, "cert": "/env.pem", "find-links": "/a /b"}


def test_a_broken_file_says_nothing(tmp_path: Path) -> None:
    broken = written(tmp_path, "broken", "no section\n\x00= 100%\n")
    assert pip_settings({}, [broken]) == {}


def test_a_percent_sign_is_a_percent_sign(tmp_path: Path) -> None:
    file = written(tmp_path, "pip.conf", "[global]\nproxy = http://u:p%40ss@proxy.example\n")
    assert pip_settings({}, [file]) == {"proxy": "http://u:p%40ss@proxy.example"}


def test_the_files_are_those_of_pip() -> None:
    files = pip_files({"HOME": "/home/ann", "XDG_CONFIG_DIRS": "/etc/xdg:/opt/xdg", "PIP_CONFIG_FILE": "/mine"})
    assert files == [
        Path("/etc/xdg/pip/pip.conf"),
        Path("/opt/xdg/pip/pip.conf"),
        Path("/etc/pip.conf"),
        Path("/home/ann/.pip/pip.conf"),
        Path("/home/ann/.config/pip/pip.conf"),
        Path("/mine"),
    ]
    assert pip_files({"PIP_CONFIG_FILE": "/dev/null"}) == []


def test_all_that_pip_knows_is_told_to_uv() -> None:
    settings = {
        "index-url": MIRROR,
        "extra-index-url": "https://one.example https://two.example",
        "find-links": "/ https://links.example/",
        "cert": "/ca.pem",
        "proxy": "http://proxy.example:3128",
        "trusted-host": "mirror.example",
    }
    told = uv_environment({}, settings, whole_index=False)
    assert told["UV_DEFAULT_INDEX"] == MIRROR
    assert told["UV_INDEX"] == "https://one.example https://two.example"
    assert told["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert told["UV_FIND_LINKS"] == "/,https://links.example/"
    assert told["SSL_CERT_FILE"] == "/ca.pem"
    assert told["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert told["UV_INSECURE_HOST"] == "mirror.example"


def test_folders_that_do_not_exist_are_passed_over(tmp_path: Path) -> None:
    here, there = tmp_path / "a b", tmp_path / "none"
    here.mkdir()
    indexes = f"{there.as_uri()} {here.as_uri()} {MIRROR}"
    told = uv_environment({}, {"find-links": str(there), "extra-index-url": indexes}, whole_index=False)
    assert "UV_FIND_LINKS" not in told
    assert told["UV_INDEX"] == f"{here.as_uri()} {MIRROR}"


def test_a_lock_is_made_from_the_whole_index_alone() -> None:
    settings = {"index-url": MIRROR, "extra-index-url": "https://one.example", "find-links": "/a"}
    told = uv_environment({}, settings, whole_index=True)
    assert told["UV_DEFAULT_INDEX"] == MIRROR
    assert not {"UV_INDEX", "UV_FIND_LINKS", "UV_INDEX_STRATEGY"} & told.keys()


@pytest.mark.parametrize(
    ("variable", "value"),
    [("UV_DEFAULT_INDEX", "https://own.example"), ("SSL_CERT_FILE", "/own.pem"), ("HTTPS_PROXY", "http://own.example")],
)
def test_what_is_set_for_uv_wins(variable: str, value: str) -> None:
    settings = {"index-url": MIRROR, "cert": "/ca.pem", "proxy": "http://proxy.example"}
    assert uv_environment({variable: value}, settings, whole_index=False)[variable] == value


def test_the_old_name_of_the_index_wins_too() -> None:
    told = uv_environment({"UV_INDEX_URL": "https://own.example"}, {"index-url": MIRROR}, whole_index=False)
    assert "UV_DEFAULT_INDEX" not in told
