"""Lines of clients: in turn, in order, and none is remembered that is empty."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from acked_common.http.fair_lines import FairLines


def test_clients_have_their_turns() -> None:
    lines: FairLines[str, int] = FairLines()
    for client, one in (("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("b", 6)):
        lines.join(client, one)
    assert [lines.next() for _ in range(6)] == [1, 4, 5, 2, 6, 3]
    assert not lines


@given(st.lists(st.one_of(st.none(), st.tuples(st.integers(0, 4), st.integers(0, 99))), max_size=80))
def test_nothing_is_lost_and_each_line_keeps_its_order(steps: list[tuple[int, int] | None]) -> None:
    lines: FairLines[int, tuple[int, int]] = FairLines()
    waiting: dict[int, list[tuple[int, int]]] = defaultdict(list)
    passed: dict[int, int] = defaultdict(int)
    for step in steps:
        if step is not None:
            lines.join(step[0], step)
            waiting[step[0]].append(step)
            continue
        standing = {client for client, line in waiting.items() if line}
        assert bool(lines) == bool(standing)
        if standing:
            got = lines.next()
            assert got == waiting[got[0]].pop(0)
            passed[got[0]] = 0
            for client in standing - {got[0]}:
                passed[client] += 1
                # Everybody else once, at most, before it is one's own turn.
                assert passed[client] <= 5
