"""What a figure comes to, and how a run is written: JSON and Markdown. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.bars import Judged
from benchmarks.rounds import Spread


@dataclass(frozen=True, slots=True)
class Row:
    """One measured thing. `values` holds a spread for each column; `ratio` is ours divided by
    this one, if it is a peer."""

    name: str
    values: Mapping[str, Spread]
    ratio: float | None = None
    note: str = ""


@dataclass(slots=True)
class FigureResult:
    """All rows of one figure. `columns` maps a column's name to its unit."""

    name: str
    title: str
    columns: Mapping[str, str]
    rows: list[Row] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ratio_of: str = ""
    """The column that the ratio is of; empty where nothing is compared."""
    took_s: float = 0.0


@dataclass(slots=True)
class Run:
    """A whole run."""

    plan: Mapping[str, Any]
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    settings: Mapping[str, str]
    peers: Sequence[tuple[str, str]]
    """Each peer with what it does not do."""
    figures: list[FigureResult] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Figures that could not be measured, with the reason."""
    took_s: float = 0.0


def number(value: float) -> str:
    """With three significant digits, thousands by commas."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 1 or value == 0 else f"{value:.3g}"


def cell(spread: Spread | None) -> str:
    """`median (min to max)`; the median alone where there was one round."""
    if spread is None:
        return ""
    if len(spread.rounds) == 1:
        return number(spread.median)
    return f"{number(spread.median)} ({number(spread.least)} to {number(spread.most)})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return lines + [f"| {' | '.join(text.replace('|', '/') for text in row)} |" for row in rows]


def figure_lines(figure: FigureResult) -> list[str]:
    """A figure as Markdown."""
    lines = [f"### {figure.title}", ""]
    heads = [f"{name}, {unit}" if unit else name for name, unit in figure.columns.items()]
    compares = any(row.ratio is not None for row in figure.rows)
    has_notes = any(row.note for row in figure.rows)
    head = ["", *heads]
    head += ["Acked ÷ this"] if compares else []
    head += ["note"] if has_notes else []
    rows = []
    for row in figure.rows:
        cells = [row.name, *(cell(row.values.get(name)) for name in figure.columns)]
        cells += ["" if row.ratio is None else number(row.ratio)] if compares else []
        cells += [row.note] if has_notes else []
        rows.append(cells)
    lines += [*table(head, rows), ""]
    if figure.judged:
        lines += [*bar_lines(figure.judged), ""]
    for note in figure.notes:
        lines += [note, ""]
    return lines


def bar_lines(judged: Sequence[Judged]) -> list[str]:
    """The bars of a figure beside what was measured."""
    rows = [
        [found.bar.what, found.bar.text, "" if found.value is None else number(found.value), found.verdict]
        for found in judged
    ]
    return table(["target", "required", "measured", ""], rows)


def to_markdown(run: Run, method: str) -> str:
    """The whole page: `method` is its text, with `{tables}` where the tables belong."""
    lines = ["## The machine and the versions", ""]
    lines += table(["", ""], [[name, str(value)] for name, value in {**run.machine, **run.versions}.items()])
    lines += ["", "Settings that differ from the defaults, or that matter here:", ""]
    lines += table(["setting", "value"], [[f"`{name}`", f"`{value}`"] for name, value in run.settings.items()])
    lines += ["", "## What the peers omit", ""]
    lines += table(["peer", "configuration here, and what it omits"], [list(peer) for peer in run.peers])
    lines += ["", f"## Figures ({run.plan['name']} run, {run.plan['rounds']} rounds, {run.took_s / 60:.1f} min)", ""]
    lines += ["Each value is the median of the rounds (minimum to maximum).", ""]
    for figure in run.figures:
        lines += figure_lines(figure)
    for name, why in run.failed.items():
        lines += [f"**{name}** could not be measured: {why}", ""]
    return method.replace("{tables}", "\n".join(lines).rstrip()) if method else "\n".join(lines)


_TABLES_BEGIN = "## The machine and the versions"
_TABLES_END = "\n## Method"
_DIGITS = re.compile(r"[\d,.]+")


def merged(page: str, run: Run, method: str) -> str:
    """A page of an earlier run with the figures of this one in place of its own, or behind them. What figures are not
    of this run stays; a figure that could not be measured now stays too. Raises `ValueError` for another page."""
    begin, end = page.find(_TABLES_BEGIN), page.find(_TABLES_END)
    if not 0 <= begin < end:
        raise ValueError("it is no page of benchmarks: it has no tables ahead of its method")
    head, *sections = re.split(r"(?m)^(?=### )", page[begin:end].rstrip() + "\n\n")
    places = {_named(section.splitlines()[0]): place for place, section in enumerate(sections)}
    apart = f"{run.plan['name']} run, {run.plan['rounds']} rounds, measured separately from the other figures."
    for figure in run.figures:
        title, *lines = figure_lines(figure)
        section = "\n".join([title, "", apart, *lines]).rstrip() + "\n\n"
        place = places.get(_named(title))
        if place is None:
            sections.append(section)
        else:
            sections[place] = section
    return method.replace("{tables}", (head + "".join(sections)).rstrip())


def _named(title: str) -> str:
    """What a figure's title is but for its numbers, which the plan sets."""
    return _DIGITS.sub("#", title).strip()


def to_json(run: Run) -> dict[str, Any]:
    """All that was measured, each round."""
    found = asdict(run)
    for figure, made in zip(run.figures, found["figures"], strict=True):
        made["judged"] = [
            {
                "bar": judged.bar.what,
                "wanted": judged.bar.text,
                "measured": judged.value,
                "verdict": judged.verdict,
            }
            for judged in figure.judged
        ]
    return found
