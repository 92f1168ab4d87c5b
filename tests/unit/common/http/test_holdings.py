"""The rule of what clients hold: bounds, equal shares, the reserve; whatever is taken and given back in any order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from acked_common.http.holdings import Full, Ledger


def test_ledger_client_at_bound_refuses_it_alone() -> None:
    ledger: Ledger[str] = Ledger(100, 10)
    assert [ledger.take("a") for _ in range(10)] == [None] * 10
    assert ledger.take("a") is Full.CLIENT
    assert ledger.take("b") is None
    ledger.give_back("a")
    assert ledger.take("a") is None
    assert (ledger.held, ledger.held_by("a"), ledger.held_by("b")) == (11, 10, 1)


def test_ledger_sole_client_with_the_whole_is_refused_with_all() -> None:
    ledger: Ledger[None] = Ledger(3, 3)
    assert [ledger.take(None) for _ in range(4)] == [None, None, None, Full.ALL]


def test_ledger_amount_beyond_bound_changes_nothing() -> None:
    ledger: Ledger[str] = Ledger(100, 10)
    assert ledger.take("a", 11) is Full.CLIENT
    assert (ledger.held, ledger.clients) == (0, 0)
    assert ledger.take("a", 10) is None


def test_ledger_whole_is_full_refuses_with_all() -> None:
    ledger: Ledger[int] = Ledger(4, 2)
    for client in range(4):
        assert ledger.take(client) is None
    assert ledger.take(9) is Full.ALL


def test_ledger_crowded_leaves_room_for_small_holders() -> None:
    ledger: Ledger[str] = Ledger(100, 50)
    assert ledger.take("a", 50) is None
    assert ledger.take("b", 25) is None
    # Three quarters are held: from here on nobody of three gets more than a quarter.
    assert ledger.take("c", 20) is None
    assert ledger.take("a", 1) is Full.CLIENT
    assert ledger.take("b", 9) is Full.ALL
    assert ledger.take("c", 5) is None
    assert ledger.held == 100


def test_ledger_reserve_serves_a_client_at_its_bound() -> None:
    ledger: Ledger[None] = Ledger(16, 14, reserve=2)
    assert ledger.take(None, 14) is None
    assert ledger.take(None) is Full.CLIENT
    assert [ledger.take(None, reserved=True) for _ in range(3)] == [None, None, Full.ALL]


@pytest.mark.parametrize(("in_all", "of_client", "reserve"), [(4, 5, 0), (4, 0, 0), (4, 4, 1), (4, 2, -1)])
def test_ledger_bounds_that_contradict_are_refused(in_all: int, of_client: int, reserve: int) -> None:
    with pytest.raises(ValueError, match="may hold"):
        Ledger(in_all, of_client, reserve=reserve)


def test_ledger_more_given_back_than_held_is_an_error() -> None:
    ledger: Ledger[str] = Ledger(10, 5)
    ledger.take("a", 2)
    with pytest.raises(ValueError, match="more is released"):
        ledger.give_back("a", 3)
    with pytest.raises(ValueError, match="more is released"):
        ledger.give_back("b")
    assert ledger.held == 2


@given(st.integers(1, 200), st.data())
def test_ledger_greedy_clients_never_refuse_a_small_one(in_all: int, data: st.DataObject) -> None:
    """However much two greedy clients take, a third one gets its first: their bounds are half of the whole at most."""
    of_client = data.draw(st.integers(1, max(1, in_all // 2)))
    ledger: Ledger[str] = Ledger(in_all, of_client)
    takes = data.draw(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, in_all)), max_size=60))
    for client, amount in takes:
        ledger.take(client, amount)
    if in_all >= 4:
        assert ledger.take("small") is None


class Takers(RuleBasedStateMachine):
    """A ledger beside a list of everything that was taken and not given back."""

    @initialize(in_all=st.integers(1, 60), share=st.floats(0.01, 1.0), reserve=st.integers(0, 8))
    def make(self, in_all: int, share: float, reserve: int) -> None:
        self.reserve = min(reserve, in_all - 1)
        self.of_client = max(1, int((in_all - self.reserve) * share))
        self.in_all = in_all
        self.ledger: Ledger[int] = Ledger(in_all, self.of_client, reserve=self.reserve)
        self.taken: list[tuple[int, int]] = []
        self.has_reserved = False

    def held_by(self, client: int) -> int:
        return sum(amount for who, amount in self.taken if who == client)

    @rule(client=st.integers(0, 5), amount=st.integers(1, 12), reserved=st.booleans())
    def take(self, client: int, amount: int, reserved: bool) -> None:
        before = {who: self.ledger.held_by(who) for who in range(6)}
        full = self.ledger.take(client, amount, reserved=reserved)
        if full is None:
            self.taken.append((client, amount))
            return
        assert {who: self.ledger.held_by(who) for who in range(6)} == before
        bound = self.of_client + (self.reserve if reserved else 0)
        fits = sum(before.values()) + amount <= self.in_all
        if full is Full.CLIENT:
            assert fits and before[client] + amount > bound
        else:
            holders = {who for who, _ in self.taken} | {client}
            shared = self.of_client + self.reserve < self.in_all
            assert not fits or (shared and bound >= before[client] + amount > max(1, self.in_all // (len(holders) + 1)))

    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        if self.taken:
            client, amount = self.taken.pop(data.draw(st.integers(0, len(self.taken) - 1)))
            self.ledger.give_back(client, amount)

    @invariant()
    def sums_agree(self) -> None:
        if not hasattr(self, "ledger"):
            return
        assert self.ledger.held == sum(amount for _, amount in self.taken) <= self.in_all
        for client in range(6):
            assert self.ledger.held_by(client) == self.held_by(client) <= self.of_client + self.reserve
        assert self.ledger.clients == len({client for client, _ in self.taken}), "nobody is remembered for nothing"


TestTakers = Takers.TestCase
