"""The floor of coverage only rises, and the run that measures it is a run of the unit tests."""

from pathlib import Path

import pytest

from deploy.coverage import FOLDER, floor, judged, main


@pytest.mark.parametrize(
    ("measured", "says"),
    [(79.99, "less than the floor of 80 %"), (81.6, "raise fail_under in pyproject.toml to 81")],
)
def test_coverage_beside_its_floor_fails(measured: float, says: str) -> None:
    assert says in (judged(measured, 80) or "")


@pytest.mark.parametrize("measured", [80.0, 81.49])
def test_coverage_at_its_floor_passes(measured: float) -> None:
    assert judged(measured, 80) is None


def test_the_floor_is_set() -> None:
    assert floor() > 50


def test_a_skipped_test_fails_the_run_under_coverage_in_ci(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "test_it.py").write_text("import pytest\ndef test_it(): pytest.skip('no reason')\n")
    monkeypatch.setattr("deploy.testing.TESTS", tmp_path)
    monkeypatch.setattr("deploy.testing.SIDE_BY_SIDE", {})
    monkeypatch.setenv("CI", "true")
    # Those of a run under coverage that this test may be part of.
    monkeypatch.setenv("COVERAGE_FILE", "replaced")
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    assert main() == 1
    said = capfd.readouterr()
    assert "test_it: no reason\n" in said.out
    assert "floor" not in said.err, "what did not run is not measured"
