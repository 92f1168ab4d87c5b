"""A seeded schedule of faults and of what operators do meanwhile: what happens to which part, link or kind, when, and
for how long. Pure."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from faults.links import Break, Link


class Fault(StrEnum):
    """What can happen: to a part, or by an operator."""

    KILL = "kill"
    PAUSE = "pause"
    RESTART = "restart"
    BREAK = "break"
    RETRY_MANY = "bulk retry of failed jobs of"
    RUN_NOW = "run now of delayed jobs of"
    PAUSE_KIND = "pause of"


BY_OPERATORS = frozenset({Fault.RETRY_MANY, Fault.RUN_NOW, Fault.PAUSE_KIND})


@dataclass(frozen=True, slots=True)
class Mishap:
    """One fault: `at_s` from the start, over after `lasts_s`."""

    at_s: float
    fault: Fault
    target: str
    lasts_s: float = 0.0
    how: Break | None = None

    def __str__(self) -> str:
        return f"{self.at_s:6.1f} s  {self.how or self.fault} {self.target}" + (
            f" for {self.lasts_s:.1f} s" if self.lasts_s else ""
        )


SERVICE_PARTS = ("worker-1", "worker-2", "intake-1", "intake-2", "gateway-1", "gateway-2")
"""Two of each: the load goes on while one is away."""
SERVER_PARTS = ("rabbitmq", "mongod")
EVERY_S = (2.0, 7.0)
PAUSES_S = (0.5, 7.0)
KIND_PAUSES_S = (5.0, 12.0)
"""A pause takes effect within three seconds."""
BREAKS_S = (0.5, 5.0)


def mixed(chance: random.Random, seconds: float) -> Iterator[Mishap]:
    """Faults of every kind, one after the other, for so long."""
    at_s = chance.uniform(*EVERY_S)
    while at_s < seconds:
        pick = chance.random()
        if pick < 0.34:
            yield Mishap(at_s, Fault.KILL, chance.choice(SERVICE_PARTS))
        elif pick < 0.46:
            lasts_s = chance.uniform(*PAUSES_S)
            yield Mishap(at_s, Fault.PAUSE, chance.choice(SERVICE_PARTS), lasts_s)
            at_s += lasts_s
        elif pick < 0.74:
            lasts_s = chance.uniform(*BREAKS_S)
            yield Mishap(at_s, Fault.BREAK, chance.choice(list(Link)), lasts_s, chance.choice(list(Break)))
            at_s += lasts_s
        elif pick < 0.78:
            yield Mishap(at_s, Fault.RESTART, chance.choice(SERVICE_PARTS))
        elif pick < 0.82:
            yield Mishap(at_s, Fault.KILL, chance.choice(SERVER_PARTS))
        elif pick < 0.88:
            yield Mishap(at_s, Fault.RETRY_MANY, "fault.fails")
        elif pick < 0.94:
            yield Mishap(at_s, Fault.RUN_NOW, chance.choice(("fault.work", "fault.backs-off")))
        else:
            # The schedule goes on meanwhile.
            yield Mishap(at_s, Fault.PAUSE_KIND, "fault.work", chance.uniform(*KIND_PAUSES_S))
        at_s += chance.uniform(*EVERY_S)


def kills(chance: random.Random, number: int, every_s: float, parts: Sequence[str] = SERVICE_PARTS) -> Iterator[Mishap]:
    """So many kills of services at random moments, `every_s` apart on average."""
    at_s = 0.0
    for _ in range(number):
        at_s += chance.uniform(0.2, 1.8) * every_s
        yield Mishap(at_s, Fault.KILL, chance.choice(list(parts)))
