"""How a run is written."""

import json
from pathlib import Path

import pytest

from benchmarks.bars import Bar, Judged, Side
from benchmarks.report import FigureResult, Row, Run, cell, merged, number, table, to_json, to_markdown
from benchmarks.rounds import Spread

ROOT = Path(__file__).resolve().parents[3]


def test_numbers_have_three_digits() -> None:
    assert [number(value) for value in (12_345.6, 100.4, 99.94, 12.34, 1.234, 0.4017, 0.00123, 0.0)] == [
        *("12,346", "100", "99.9", "12.3", "1.23", "0.402", "0.00123", "0.00")
    ]


def test_a_cell_has_the_median_and_the_ends() -> None:
    assert cell(Spread((100.0, 300.0, 200.0))) == "200 (100 to 300)"
    assert cell(Spread((1.5,))) == "1.50"
    assert cell(None) == ""


def test_a_table_keeps_its_columns_whatever_is_in_them() -> None:
    assert table(["a", "b"], [["1|2", "3"]]) == ["| a | b |", "|---|---|", "| 1/2 | 3 |"]


def a_run() -> Run:
    figure = FigureResult(
        "accept",
        "Accept",
        {"accepted": "requests/s"},
        rows=[
            Row("Acked", {"accepted": Spread((400.0, 420.0))}),
            Row("bare", {"accepted": Spread((1000.0, 1000.0))}, ratio=0.41, note="keeps nothing"),
        ],
        judged=[Judged(Bar("of bare", Side.AT_LEAST, 0.4), 0.41), Judged(Bar("of nobody", Side.AT_LEAST, 2), None)],
        notes=["A note."],
    )
    return Run(
        plan={"name": "quick", "rounds": 2},
        machine={"cores": "2"},
        versions={"MongoDB": "6.0.5"},
        settings={"ACKED_ACCESS": "tokens"},
        peers=[("bare", "keeps nothing")],
        figures=[figure],
        failed={"feed": "OSError: no"},
    )


METHOD = "# Benchmarks\n\n{tables}\n\n## Method\n\nHow.\n"


def test_a_run_of_some_figures_replaces_these_alone() -> None:
    page = to_markdown(a_run(), METHOD)
    feed = FigureResult("feed", "Feed of 10,000", {"late": "ms"}, rows=[Row("Acked", {"late": Spread((7.0,))})])
    run = a_run()
    run.figures, run.failed = [feed], {"accept": "OSError: no"}
    page = merged(page, run, METHOD.replace("How.", "How now."))
    assert "| Acked | 410 (400 to 420) |" in page
    assert "| Acked | 7.00 |" in page
    assert page.index("### Accept") < page.index("### Feed of 10,000") < page.index("## Method")
    assert page.endswith("How now.\n")
    # The same figure of another plan takes its place, and nothing grows.
    feed.title, feed.rows = "Feed of 500", [Row("Acked", {"late": Spread((8.0,))})]
    again = merged(page, run, METHOD)
    assert "10,000" not in again and "| Acked | 7.00 |" not in again
    assert "| Acked | 8.00 |" in again
    assert merged(again, run, METHOD) == again
    assert again.count("### ") == 2
    assert "## The machine and the versions" in again


def test_another_page_is_not_written_into() -> None:
    with pytest.raises(ValueError, match="no page of benchmarks"):
        merged("# Notes\n\n## Method\n", a_run(), METHOD)


def test_the_page_has_figures_bars_and_what_failed() -> None:
    lines = to_markdown(a_run(), "# Benchmarks\n\n{tables}\n\n## Method\n").splitlines()
    assert lines[0] == "# Benchmarks"
    assert lines[-1] == "## Method"
    for line in (
        "|  | accepted, requests/s | Acked ÷ this | note |",
        "| Acked | 410 (400 to 420) |  |  |",
        "| bare | 1,000 (1,000 to 1,000) | 0.41 | keeps nothing |",
        "| of bare | ≥ 0.4 | 0.41 | met |",
        "| of nobody | ≥ 2 |  | not measured |",
        "| cores | 2 |",
        "| `ACKED_ACCESS` | `tokens` |",
        "**feed** could not be measured: OSError: no",
    ):
        assert line in lines


def test_json_has_each_round_and_each_verdict() -> None:
    found = json.loads(json.dumps(to_json(a_run())))
    (figure,) = found["figures"]
    assert figure["rows"][0]["values"]["accepted"]["rounds"] == [400.0, 420.0]
    assert [judged["verdict"] for judged in figure["judged"]] == ["met", "not measured"]
    assert figure["judged"][0] == {"bar": "of bare", "wanted": "≥ 0.4", "measured": 0.41, "verdict": "met"}


def test_the_page_has_the_text_of_its_template() -> None:
    """What only the page says, `--write` would remove."""
    page, template = (ROOT / name for name in ("docs/benchmarks.md", "tests/benchmarks/method.md"))
    head, _, rest = page.read_text().partition("## The machine and the versions")
    assert f"{head}{{tables}}\n\n## Method{rest.partition('## Method')[2]}" == template.read_text()
