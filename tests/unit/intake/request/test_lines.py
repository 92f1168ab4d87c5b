"""Lines of a body that arrives in pieces."""

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked_intake.request import lines
from acked_intake.request.lines import MAX_BYTES, MAX_LINES, BodyLine, LineSplitter, Overflow

LONGEST = 8


def split(chunks: Iterable[bytes]) -> list[BodyLine]:
    splitter = LineSplitter(LONGEST)
    found = [line for chunk in chunks for line in splitter.feed(chunk)]
    return [*found, *splitter.end()]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", []),
        (b"\n\r\n \t\n", []),
        (b"a", [BodyLine(1, b"a")]),
        (b"a\n", [BodyLine(1, b"a")]),
        (b"a\r\n\n b \r\nc", [BodyLine(1, b"a"), BodyLine(3, b"b"), BodyLine(4, b"c")]),
        (
            b"12345678\r\n123456789\n1",
            [BodyLine(1, b"12345678"), BodyLine(2, b"", is_too_long=True), BodyLine(3, b"1")],
        ),
        (b"1234567890123", [BodyLine(1, b"", is_too_long=True)]),
        # Only LF ends a line: JSON text may hold other line breaks.
        ("a\u2028b\x0bc\n".encode(), [BodyLine(1, "a\u2028b\x0bc".encode())]),
    ],
)
def test_a_body_has_these_lines(body: bytes, found: list[BodyLine]) -> None:
    assert split([body]) == found


@given(st.lists(st.binary(max_size=12) | st.just(b"\n") | st.just(b"\r\n")), st.data())
def test_lines_do_not_depend_on_how_the_body_arrives(parts: list[bytes], data: st.DataObject) -> None:
    body = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    edges = [0, *cuts, len(body)]
    chunks = [body[start:end] for start, end in itertools.pairwise(edges)]
    assert split(chunks) == split([body])


@given(st.lists(st.binary(min_size=1, max_size=LONGEST).filter(lambda line: line.strip(b" \t\r\n") == line)))
def test_every_line_comes_back(texts: list[bytes]) -> None:
    texts = [text for text in texts if b"\n" not in text]
    assert [line.text for line in split([b"\n".join(texts)])] == texts


def test_a_line_without_an_end_is_none_before_the_body_is_complete() -> None:
    splitter = LineSplitter(LONGEST)
    assert list(splitter.feed(b"a\nb")) == [BodyLine(1, b"a")]
    assert list(splitter.feed(b"")) == []


@pytest.mark.parametrize("last", [b"x", b"x\n"])
def test_a_body_has_so_many_lines_at_most(last: bytes) -> None:
    assert len(split([b"x\n" * (MAX_LINES - 1), last])) == MAX_LINES
    splitter = LineSplitter(LONGEST)
    found: list[BodyLine] = []
    with pytest.raises(Overflow, match="10,000 lines"):
        found += splitter.feed(b"x\n" * MAX_LINES)
        found += splitter.feed(last)
        found += splitter.end()
    assert (len(found), splitter.number) == (MAX_LINES, MAX_LINES + 1)


def test_a_body_has_so_many_bytes_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_BYTES == 16 * 2**20
    monkeypatch.setattr(lines, "MAX_BYTES", 7)
    assert [line.text for line in split([b"a\nb\n", b"c\nd"])] == [b"a", b"b", b"c", b"d"]
    splitter = LineSplitter(LONGEST)
    found: list[BodyLine] = []
    with pytest.raises(Overflow, match="7 bytes"):
        for line in splitter.feed(b"a\nb\nc\nd\ne\n"):
            found.append(line)
    assert [line.text for line in found] == [b"a", b"b", b"c"]
    assert splitter.number == 4
