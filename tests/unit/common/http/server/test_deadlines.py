"""Who has waited too long, and who goes when there is no room."""

from hypothesis import given
from hypothesis import strategies as st

from acked_common.http.server.deadlines import ConnectionDeadlines, Deadline

WITHIN_S = {
    Deadline.FIRST_BYTE: 10.0,
    Deadline.HEAD: 5.0,
    Deadline.BODY: 20.0,
    Deadline.NEXT_REQUEST: 75.0,
    Deadline.GOODBYE: 2.0,
}


def waiting(*members: tuple[str, Deadline, float]) -> ConnectionDeadlines[str]:
    made: ConnectionDeadlines[str] = ConnectionDeadlines(WITHIN_S)
    for name, wait, at in members:
        made.join(name, wait, at)
    return made


def test_each_wait_has_its_own_time() -> None:
    made = waiting(*((wait.label, wait, 0.0) for wait in Deadline))
    assert made.overdue(1.9, 9) == []
    for now, name in [(2.0, "goodbye"), (5.0, "head"), (10.0, "first-byte"), (20.0, "body"), (75.0, "next-request")]:
        assert [member for member, _ in made.overdue(now, 9)] == [name]
    assert not made


def test_who_leaves_is_never_late() -> None:
    made = waiting(("a", Deadline.HEAD, 0.0), ("b", Deadline.HEAD, 0.0))
    made.leave("a", Deadline.HEAD)
    made.leave("a", Deadline.HEAD)
    assert made.overdue(9.0, 9) == [("b", Deadline.HEAD)]


def test_so_many_at_once_and_the_rest_with_the_next_look() -> None:
    made = waiting(*((str(number), Deadline.HEAD, 0.0) for number in range(5)))
    assert [member for member, _ in made.overdue(9.0, 3)] == ["0", "1", "2"]
    assert [member for member, _ in made.overdue(9.0, 3)] == ["3", "4"]


def test_who_has_waited_longest_for_a_next_request_goes_first() -> None:
    made = waiting(
        ("silent", Deadline.FIRST_BYTE, 0.0), ("old", Deadline.NEXT_REQUEST, 1.0), ("new", Deadline.NEXT_REQUEST, 2.0)
    )
    assert made.evict(5.0) == ("old", Deadline.NEXT_REQUEST)
    assert made.evict(5.0) == ("new", Deadline.NEXT_REQUEST)
    assert made.evict(5.0) == ("silent", Deadline.FIRST_BYTE)
    assert made.evict(5.0) is None


def test_who_was_just_answered_stays_as_long_as_others_are_slow() -> None:
    made = waiting(("answered", Deadline.NEXT_REQUEST, 4.9), ("body", Deadline.BODY, 3.0), ("head", Deadline.HEAD, 2.0))
    assert [made.evict(5.0) for _ in range(3)] == [
        ("head", Deadline.HEAD),
        ("body", Deadline.BODY),
        ("answered", Deadline.NEXT_REQUEST),
    ]


@given(st.lists(st.tuples(st.sampled_from(list(Deadline)), st.floats(0, 1)), max_size=40))
def test_everybody_is_late_once_and_not_before(steps: list[tuple[Deadline, float]]) -> None:
    made: ConnectionDeadlines[int] = ConnectionDeadlines(WITHIN_S)
    until: dict[int, float] = {}
    now = 0.0
    for number, (wait, pause_s) in enumerate(steps):
        now += pause_s
        made.join(number, wait, now)
        until[number] = now + WITHIN_S[wait]
    found: list[int] = []
    for end in sorted(until.values()):
        late = [member for member, _ in made.overdue(end, 100)]
        assert all(until[member] <= end for member in late)
        found += late
        assert {member for member in until if until[member] <= end} == set(found)
    assert sorted(found) == sorted(until)
