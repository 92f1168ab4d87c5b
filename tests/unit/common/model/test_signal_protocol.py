"""All interleavings of an attempt, senders and the sweeper of signals, over the real rules of ledgers.

Each sender, the sweeper and the attempt may die between any two of its writes; so may an attempt that has claimed its
job and not opened its ledger. A park that has missed a signal is refused, and queues the job. From every state that
can be reached, the job can still end. Without any one part of the protocol, some state strands it.
"""

from collections import deque
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from acked_common.model.ids import new_id
from acked_common.model.ledger import JobLedger, LedgerWrite, PendingSignals
from acked_common.model.ledger_rules import announced, opened, pending_of, pushed, written
from acked_common.model.lifecycle_waits import Waits
from support.ledgers import digest, entry, opening, push

JOB = new_id()
TWO_NAMES = (("a", "b"), ("b", "a"))
"""The names for which the handler waits, one after the other, and those that are sent."""
ONE_NAME = (("go", "go"), ("go", "go"))

# state, signals of the job | ledger | attempt: what it does next, in_seq and inbox that it knows, number of it |
# senders: step and what they announce | sweeper | attempts that may still be lost
State = tuple[str, int, JobLedger | None, tuple[str, int, tuple[str, ...], int], tuple[object, ...], object, int]


class Model:
    """The steps of the protocol; each part of it can be left out."""

    def __init__(
        self,
        names: tuple[tuple[str, ...], tuple[str, ...]],
        *,
        guards_parks: bool = True,
        compares_marks: bool = True,
        keeps_names: bool = True,
        sweeps: bool = True,
    ) -> None:
        self.wanted, self.sent = names
        self.guards_parks = guards_parks
        self.compares_marks = compares_marks
        self.keeps_names = keeps_names
        self.sweeps = sweeps

    def start(self) -> State:
        return "queued", 0, None, ("gone", 0, (), 0), ("push",) * len(self.sent), None, 1

    def steps(self, state: State) -> Iterator[State]:
        yield from self._attempt(state)
        yield from self._senders(state)
        if self.sweeps:
            yield from self._sweeper(state)

    def _attempt(self, state: State) -> Iterator[State]:
        job, signals, ledger, (doing, known, _, number), senders, sweeper, losses = state
        rest = (senders, sweeper, losses)
        if job == "queued":
            yield "running", signals, ledger, ("open", 0, (), number + 1), *rest
        if job != "running":
            return
        if losses:
            yield "queued", signals, ledger, ("gone", 0, (), number), senders, sweeper, losses - 1
        if doing == "open":
            found = opened(ledger, opening(JOB, number))
            assert isinstance(found, JobLedger)
            yield job, signals, found, ("read", 0, (), number), *rest
            return
        assert ledger is not None
        taken = len(ledger.entries)
        if taken == len(self.wanted):
            yield "ended", signals, ledger, ("gone", 0, (), number), *rest
        elif doing == "read":
            names = tuple(signal.name for signal in ledger.inbox)
            next_ = "take" if self.wanted[taken] in names else "park"
            yield job, signals, ledger, (next_, ledger.in_seq, names, number), *rest
        elif doing == "take":
            signal = next(one for one in ledger.inbox if one.name == self.wanted[taken])
            write = LedgerWrite(JOB, digest(taken), entry(taken + 1, f"n{number}"), takes=signal.id)
            found = written(ledger, write)
            assert isinstance(found, JobLedger)
            yield job, signals, found, ("read", 0, (), number), *rest
        elif signals <= known or not self.guards_parks:
            yield "waiting", signals, ledger, ("gone", 0, (), number), *rest
        else:
            yield "queued", signals, ledger, ("gone", 0, (), number), *rest

    def _announce(self, state: State, pending: PendingSignals) -> tuple[str, int]:
        job, signals, ledger = state[:3]
        name = self.wanted[len(ledger.entries) if ledger else 0] if job == "waiting" else ""
        waits = Waits("wait", name, None, (name,)) if name else None
        if waits is not None and any(map(waits.wakes_on, pending.names)):
            return "queued", max(signals, pending.in_seq)
        return job, max(signals, pending.in_seq) if job in ("running", "queued") else signals

    def _unset(self, ledger: JobLedger | None, in_seq: int) -> JobLedger | None:
        assert ledger is not None
        if not self.compares_marks:
            return replace(ledger, pending=None, pending_names=())
        return announced(ledger, in_seq)

    def _senders(self, state: State) -> Iterator[State]:
        job, signals, ledger, attempt, senders, sweeper, losses = state
        for place, step in enumerate(senders):

            def moved(to: object, place: int = place) -> tuple[object, ...]:
                return (*senders[:place], to, *senders[place + 1 :])

            if step == "push":
                found = pushed(ledger, push(JOB, f"s{place}", self.sent[place]))
                if isinstance(found, JobLedger):
                    pending = pending_of(found)
                    assert pending is not None
                    if not self.keeps_names:
                        pending = replace(pending, names=(self.sent[place],))
                        found = replace(found, pending_names=(self.sent[place],))
                    yield job, signals, found, attempt, moved(("announce", pending)), sweeper, losses
            elif isinstance(step, tuple):
                doing, pending = step
                yield job, signals, ledger, attempt, moved("over"), sweeper, losses
                if doing == "announce":
                    to, number = self._announce(state, pending)
                    yield to, number, ledger, attempt, moved(("unset", pending)), sweeper, losses
                else:
                    unset = self._unset(ledger, pending.in_seq)
                    yield job, signals, unset, attempt, moved("over"), sweeper, losses

    def _sweeper(self, state: State) -> Iterator[State]:
        job, signals, ledger, attempt, senders, sweeper, losses = state
        if sweeper is None:
            pending = None if ledger is None else pending_of(ledger)
            if pending is not None:
                yield job, signals, ledger, attempt, senders, ("announce", pending), losses
            return
        assert isinstance(sweeper, tuple)
        doing, pending = sweeper
        yield job, signals, ledger, attempt, senders, None, losses
        if doing == "announce":
            to, number = self._announce(state, pending)
            yield to, number, ledger, attempt, senders, ("unset", pending), losses
        else:
            yield job, signals, self._unset(ledger, pending.in_seq), attempt, senders, None, losses


def key_of(ledger: JobLedger | None, attempt: int) -> object:
    """What tells ledgers apart: their entries and signals carry instants and mappings that do not compare. Attempts
    have no end, so it counts how far the ledger is behind."""
    if ledger is None:
        return None
    inbox = tuple((signal.id, signal.seq) for signal in ledger.inbox)
    pending = ledger.pending, ledger.pending_names
    return len(ledger.entries), inbox, ledger.in_seq, pending, min(attempt - ledger.attempt, 2)


def stranded(model: Model) -> tuple[int, int]:
    """The number of states that can be reached, and of those from which the job can't end."""

    def identity(state: State) -> tuple[object, ...]:
        doing, known, names, number = state[3]
        return (*state[:2], key_of(state[2], number), doing, known, names, *state[4:])

    start = model.start()
    first = identity(start)
    seen = {first}
    todo = deque([(first, start)])
    before: dict[tuple[object, ...], list[tuple[object, ...]]] = {}
    ended: list[tuple[object, ...]] = []
    while todo:
        name, state = todo.popleft()
        if state[0] == "ended":
            ended.append(name)
        for following in model.steps(state):
            found = identity(following)
            before.setdefault(found, []).append(name)
            if found not in seen:
                seen.add(found)
                todo.append((found, following))
    good = set(ended)
    behind = deque(ended)
    while behind:
        for name in before.get(behind.popleft(), ()):
            if name not in good:
                good.add(name)
                behind.append(name)
    return len(seen), len(seen - good)


@pytest.mark.parametrize("names", [TWO_NAMES, ONE_NAME], ids=["two names", "one name"])
def test_no_interleaving_strands_a_signal(names: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
    reached, lost = stranded(Model(names))
    assert reached > 1000
    assert lost == 0


@pytest.mark.parametrize(
    ("names", "without"),
    [
        (TWO_NAMES, "guards_parks"),
        (TWO_NAMES, "compares_marks"),
        (TWO_NAMES, "keeps_names"),
        (TWO_NAMES, "sweeps"),
        (ONE_NAME, "guards_parks"),
        (ONE_NAME, "compares_marks"),
        (ONE_NAME, "sweeps"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[0]),
)
def test_each_part_of_the_protocol_is_needed(names: tuple[tuple[str, ...], tuple[str, ...]], without: str) -> None:
    _, lost = stranded(Model(names, **{without: False}))
    assert lost > 0
