"""The secrets of a stack in containers: made by `up` for its owner alone, or those of the repository by hand."""

import re
import stat
from pathlib import Path

import pytest

from acked_common.accounts.hand_out import SECRETS, development_secrets
from acked_common.accounts.settings import read_settings
from acked_common.runtime.env import MIN_SECRET_CHARS, Env, SettingsError
from deploy.docker.project import Project
from deploy.docker.secrets import secrets_mark
from deploy.native.layout import ROOT, Ports

COMPOSE = (ROOT / "compose.yaml").read_text()
DEVELOPMENT = ROOT / "deploy/docker/development"


def project(folder: Path, environ: dict[str, str] | None = None) -> Project:
    found = Project(Ports(9000), environ or {}, folder)
    found.prepare()
    return found


def test_up_makes_every_secret_for_its_owner_alone(tmp_path: Path) -> None:
    folder = project(tmp_path).secrets
    assert {path.name for path in folder.iterdir()} == set(SECRETS)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    values = {path.read_text() for path in folder.iterdir()}
    assert len(values) == len(SECRETS)
    assert all(len(value) >= MIN_SECRET_CHARS for value in values)


def test_secrets_stay_and_are_marked_by_what_they_are(tmp_path: Path) -> None:
    first, second = project(tmp_path), project(tmp_path)
    mark = secrets_mark(first.secrets)
    assert secrets_mark(second.secrets) == mark
    (tmp_path / "secrets" / "worker").unlink()
    assert project(tmp_path).environ["ACKED_SECRETS_MARK"] != mark


def test_a_folder_of_ones_own_is_used(tmp_path: Path) -> None:
    own = tmp_path / "mine"
    own.mkdir()
    (own / "worker").write_text("a-secret-of-my-own\n")
    found = project(tmp_path / "state", {"ACKED_SECRETS_DIR": str(own)})
    assert found.secrets == own
    assert (own / "worker").read_text() == "a-secret-of-my-own\n"
    assert (own / "mongo-key").is_file()


def test_compose_names_the_secrets_that_are_handed_out() -> None:
    files = re.findall(
        r"^  ([a-z-]+): \{file: \"\$\{ACKED_SECRETS_DIR:-./deploy/docker/development}/\1\"}$", COMPOSE, re.M
    )
    mounted = re.search(r"    secrets:\n((?:      - [a-z-]+\n)+)", COMPOSE)
    assert files == list(SECRETS)
    assert mounted is not None
    assert mounted[1].split()[1::2] == list(SECRETS)


def test_the_secrets_of_the_repository_say_what_they_are() -> None:
    found = {path.name: path.read_text().strip() for path in DEVELOPMENT.iterdir()}
    assert set(found) == set(SECRETS)
    # MongoDB takes no hyphen in its key.
    assert set(development_secrets(found)) == set(SECRETS) - {"mongo-key"}
    assert re.fullmatch(r"[A-Za-z0-9+/=]{6,1024}", found["mongo-key"])


def test_users_of_the_servers_are_two_numbers() -> None:
    settings = read_settings(Env({"ACKED_MONGO_USER": "100:101"}))
    assert (settings.mongo_user, settings.rabbitmq_user) == ((100, 101), (999, 999))
    with pytest.raises(SettingsError, match="ACKED_RABBITMQ_USER=rabbitmq: must be two integers"):
        read_settings(Env({"ACKED_RABBITMQ_USER": "rabbitmq"}))
