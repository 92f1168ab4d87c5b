"""The order of a rolling restart: no service is ever without a process that is ready."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto


class Action(Enum):
    """What is done to a part; each is done when it is finished: started parts are ready, stopped ones are gone."""

    ADD = auto()
    REPLACE = auto()
    REMOVE = auto()


@dataclass(frozen=True, slots=True)
class Step:
    """One action on one part, such as `intake-1`."""

    action: Action
    part: str


def steps(scale: Mapping[str, int], roles: Iterable[str]) -> list[Step]:
    """One process of a service after the other; beside a single one a second one serves meanwhile."""
    found = []
    for role in roles:
        number = scale[role]
        replaced = [Step(Action.REPLACE, f"{role}-{n}") for n in range(1, number + 1)]
        if number == 1:
            second = f"{role}-2"
            replaced = [Step(Action.ADD, second), *replaced, Step(Action.REMOVE, second)]
        found += replaced
    return found
