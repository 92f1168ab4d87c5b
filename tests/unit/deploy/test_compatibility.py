"""Which version an upgrade begins at, and which steps lie between two versions."""

import subprocess
from pathlib import Path

import pytest

from acked_common.store.mongo import schema
from deploy.native.layout import ROOT
from support import upgrades
from support.upgrades import Compatibility, NoVersionBefore, compatibility_of, version_before


@pytest.mark.parametrize(
    ("old", "new", "rolls", "comes_back"),
    [
        (Compatibility(1, 1, 2), Compatibility(1, 1, 2), True, True),
        # A schema step, or another state folder: there only.
        (Compatibility(1, 1, 2), Compatibility(1, 1, 3), True, False),
        (Compatibility(1, 1, 2), Compatibility(2, 1, 2), True, False),
        # The servers have to be stopped.
        (Compatibility(1, 1, 2), Compatibility(2, 2, 2), False, False),
        (Compatibility(2, 2, 2), Compatibility(2, 2, 2), True, True),
        (Compatibility(2, 2, 2), Compatibility(3, 2, 2), True, False),
    ],
)
def test_numbers_decide_the_steps(old: Compatibility, new: Compatibility, rolls: bool, comes_back: bool) -> None:
    assert (old.can_roll_to(new), old.can_come_back_from(new)) == (rolls, comes_back)


def test_numbers_of_this_version_are_sound() -> None:
    present = compatibility_of(ROOT)
    assert 1 <= present.rolls_from <= present.state
    assert present.schema == schema.SCHEMA_VERSION


class Repository:
    """A git repository in place of this one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.git("init", "--quiet")

    def git(self, *words: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false"]
        ran = subprocess.run(
            ["git", "-C", str(self._folder), *identity, *words], check=True, capture_output=True, text=True
        )
        return ran.stdout.strip()

    def commit(self) -> str:
        self.git("commit", "--quiet", "--allow-empty", "--message", "one more")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.setattr(upgrades, "ROOT", tmp_path)
    monkeypatch.setattr(upgrades, "NAMED", tmp_path / "version_before.txt")
    monkeypatch.delenv(upgrades.CHOSEN, raising=False)
    return Repository(tmp_path)


def test_version_before_is_the_newest_tag_of_an_older_commit(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (repository.commit() for _ in range(3))
    upgrades.NAMED.write_text(f"# why\n{first}\n")
    assert version_before() == first, "without a tag the file names it"
    repository.git("tag", "v0.9.0", first)
    repository.git("tag", "v0.10.0", second)
    repository.git("tag", "v0.11.0", third)
    assert version_before() == second, "a release is not its own version before"
    monkeypatch.setenv(upgrades.CHOSEN, "v0.9.0")
    assert version_before() == first


def test_version_before_missing_in_the_clone_is_explained(repository: Repository) -> None:
    with pytest.raises(NoVersionBefore, match="git fetch --unshallow --tags"):
        version_before()
    for _ in range(2):
        repository.commit()
    upgrades.NAMED.write_text("1" * 40 + "\n")
    with pytest.raises(NoVersionBefore, match="git fetch --unshallow --tags"):
        version_before()
