"""What all attempts of a job under test share: the job, its clock, and what was seen of it."""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from acked.definition import KindDefinition
from acked.testing.clock import VirtualClock
from acked.testing.kit_job import KitJob


class Points:
    """The points that attempts reach, numbered from 1 over all attempts, and those at which one is killed."""

    def __init__(self, kills: Collection[int] = ()) -> None:
        self._kills = frozenset(kills)
        self.reached: list[str] = []
        """What each point was: "before step quote", "recording step quote", …"""

    def is_killed_at(self, name: str) -> bool:
        """Note that a point is reached, and return whether the attempt is killed there."""
        self.reached.append(name)
        return len(self.reached) in self._kills


@dataclass
class World:
    """The surroundings of all attempts of one job."""

    kind: KindDefinition
    clock: VirtualClock
    job: KitJob
    points: Points
    park_over_s: float
    effects: Counter[str] = field(default_factory=Counter)
    """How often each step's function came to its end, by identity."""
    asked: set[str] = field(default_factory=set)
    """The identities of the durable calls of the newest attempt."""
    outside: list[str] = field(default_factory=list)
    """Effects outside steps, once `outside.watch_effects` was called."""
    after: dict[str, list[Callable[[], None]]] = field(default_factory=dict)
    """What happens when a step is recorded, by its identity."""
