"""What the handlers with durable calls do, and who sends them signals. Pure: drawn once, from the seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from acked.durable.step import Retry

SIGNAL_NAMES = ("a", "b")
MOST_SLEEP_S = 12.0


@dataclass(frozen=True, slots=True)
class StepPart:
    """A step; `ends` says how its starts end in order, in all attempts; behind the last one they return."""

    name: str
    key: int | None = None
    takes_s: float = 0.1
    ends: tuple[str, ...] = ()
    """`ok`, `error`, `permanent`."""
    retry: Retry | None = None
    once: bool = False
    is_caught: bool = False
    """Whether the handler goes on without it once it has failed for good."""

    @property
    def text(self) -> str:
        """As of `Identity`."""
        return self.name if self.key is None else f"{self.name}[{self.key}]"

    def end(self, start: int) -> str:
        """How its n-th start ends, counted from 0."""
        return self.ends[start] if start < len(self.ends) else "ok"


@dataclass(frozen=True, slots=True)
class SleepPart:
    """A sleep."""

    name: str
    seconds: float

    @property
    def text(self) -> str:
        """As of `Identity`."""
        return self.name


@dataclass(frozen=True, slots=True)
class WaitPart:
    """A wait for a signal, with or without an end."""

    name: str
    key: int
    within_s: float | None = None

    @property
    def text(self) -> str:
        """As of `Identity`."""
        return f"{self.name}[{self.key}]"


@dataclass(frozen=True, slots=True)
class FirstPart:
    """A race of signals, and perhaps a timer."""

    name: str
    signals: tuple[str, ...]
    timer_s: float | None = None

    @property
    def text(self) -> str:
        """As of `Identity`."""
        return self.name


Call = StepPart | SleepPart | WaitPart | FirstPart


@dataclass(frozen=True, slots=True)
class GatherPart:
    """Several calls at once."""

    name: str
    calls: tuple[Call, ...]


Part = Call | GatherPart


@dataclass(frozen=True, slots=True)
class Place:
    """A point in a story: a handler comes to a part, or the step ahead of that part has had its effect."""

    part: int
    is_ahead: bool = False


@dataclass(frozen=True, slots=True)
class SignalPlan:
    """One signal of a client, which sends it again under the same id where `copies_s` says so."""

    id: str
    name: str
    place: Place | None
    """What it follows; None: the 202 of the job."""
    delay_s: float
    copies_s: tuple[float, ...] = ()
    """How long after the first one each repetition leaves."""


@dataclass(frozen=True, slots=True)
class Story:
    """The course of one job."""

    idles_s: float
    """How long the first attempt takes before its first durable call."""
    parts: tuple[Part, ...]
    signals: tuple[SignalPlan, ...]
    is_left: bool
    """Whether nobody sends the signals that it still waits for in the end."""
    cancelled_at: Place | None
    """Where an operator cancels it."""

    def calls(self) -> Iterator[Call]:
        """All durable calls."""
        for part in self.parts:
            yield from part.calls if isinstance(part, GatherPart) else (part,)

    def gathered_waits(self) -> set[str]:
        """The waits that stand beside other calls."""
        gathered = (call for part in self.parts if isinstance(part, GatherPart) for call in part.calls)
        return {call.text for call in gathered if isinstance(call, WaitPart)}

    def is_once(self, text: str) -> bool:
        """Whether a step must not run twice."""
        return any(isinstance(one, StepPart) and one.once and one.text == text for one in self.calls())


class _Draw:
    """Draws one story."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._calls = 0

    def story(self, number: int) -> Story:
        rng = self._rng
        parts = tuple(part for _ in range(rng.choice((1, 2, 3, 5))) for part in self._parts())
        return Story(
            idles_s=rng.choice((rng.uniform(0, 2), rng.uniform(0, 14))) if rng.random() < 0.25 else 0.0,
            parts=parts,
            signals=tuple(self._signals(number, parts)),
            is_left=rng.random() < 0.15,
            cancelled_at=Place(rng.randrange(len(parts)), rng.random() < 0.5) if rng.random() < 0.15 else None,
        )

    def _next(self) -> int:
        self._calls += 1
        return self._calls

    def _parts(self) -> list[Part]:
        rng = self._rng
        what = rng.choices(("step", "loop", "gather", "first", "sleep", "wait"), (4, 2, 3, 3, 2, 5))[0]
        if what == "loop":
            name, count = f"page-{self._next()}", rng.choice((2, 3, 6))
            return [self._step(name, key) for key in range(count)]
        if what == "gather":
            calls = tuple(self._call(rng.choice(("step", "sleep", "wait", "wait"))) for _ in range(rng.choice((2, 3))))
            return [GatherPart(f"gather-{self._next()}", calls)]
        return [self._call(what)]

    def _call(self, what: str) -> Call:
        rng = self._rng
        if what == "step":
            return self._step(f"step-{self._next()}", None)
        if what == "sleep":
            return SleepPart(f"sleep-{self._next()}", self._duration_s())
        if what == "wait":
            within_s = self._duration_s() if rng.random() < 0.5 else None
            return WaitPart(rng.choice(SIGNAL_NAMES), self._next(), within_s)
        signals = tuple(rng.sample(SIGNAL_NAMES, rng.choice((1, 2))))
        return FirstPart(f"first-{self._next()}", signals, self._duration_s() if rng.random() < 0.6 else None)

    def _duration_s(self) -> float:
        return self._rng.choice((0.2, self._rng.uniform(0, 2), self._rng.uniform(2, MOST_SLEEP_S)))

    def _step(self, name: str, key: int | None) -> StepPart:
        rng = self._rng
        ends = tuple(rng.choices(("ok", "error", "permanent"), (3, 3, 1), k=rng.choice((0, 0, 0, 1, 2))))
        retry = rng.choice((None, None, Retry(2, base_s=0.5, cap_s=1.0), Retry(3, base_s=8.0, cap_s=8.0)))
        once = rng.random() < 0.25
        return StepPart(
            name,
            key,
            takes_s=rng.choice((0.0, 0.05, rng.uniform(0, 1), rng.uniform(0, 4))),
            ends=ends,
            retry=None if once else retry,
            once=once,
            is_caught=rng.random() < 0.5,
        )

    def _signals(self, number: int, parts: tuple[Part, ...]) -> Iterator[SignalPlan]:
        """Some for each wait, now and then several at once, and some that nobody waits for."""
        rng, count = self._rng, 0
        for place, part in enumerate(parts):
            for call in part.calls if isinstance(part, GatherPart) else (part,):
                wanted = (call.name,) if isinstance(call, WaitPart) else getattr(call, "signals", ())
                if not wanted or rng.random() < 0.2:
                    continue
                names = [rng.choice(wanted), *rng.choices(SIGNAL_NAMES, k=rng.choice((0, 1, 1, 2)))]
                here, ahead = Place(place), Place(place, is_ahead=True)
                at_place = rng.choice((here, here, ahead, None, Place(rng.randrange(len(parts)))))
                delay_s = rng.choice((0.0, rng.uniform(0, 0.1), rng.uniform(0, 0.1), rng.uniform(0, 8)))
                for name in names:
                    count += 1
                    copies_s = tuple(
                        rng.choice((0.0, rng.uniform(0, 1), rng.uniform(0, 9))) for _ in range(self._copies())
                    )
                    # Those of one burst leave nearly at once.
                    yield SignalPlan(f"s-{number}-{count}", name, at_place, delay_s + rng.uniform(0, 0.03), copies_s)

    def _copies(self) -> int:
        return self._rng.choice((0, 0, 1, 2))


def draw_story(rng: Random, number: int) -> Story:
    """Draw the story of one job."""
    return _Draw(rng).story(number)
