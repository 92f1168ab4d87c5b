"""Connections between processes and servers in virtual time: what is sent arrives in order, each after a delay."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from simulation.loop import SimProcess

if TYPE_CHECKING:
    from simulation.simulator import Simulator


class Pipe:
    """One direction of a connection."""

    def __init__(
        self, simulator: "Simulator", receiver: SimProcess | None = None, *, delay_s: float | None = None
    ) -> None:
        """`receiver`: the process in which calls run, unless it is dead by then; None: a server. `delay_s`: of each
        message; None: drawn for each."""
        self._simulator = simulator
        self._receiver = receiver
        self._delay_s = delay_s
        self._sent: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()

    def send(self, callback: Callable[..., object], *args: Any) -> None:
        """Call at the other end, behind everything that was sent before."""
        self._sent.append((callback, args))
        delay_s = self._simulator.delay_s() if self._delay_s is None else self._delay_s
        self._simulator.loop.outside_later(delay_s, self._arrive)

    def _arrive(self) -> None:
        # Whichever timer fires first takes the oldest.
        callback, args = self._sent.popleft()
        if self._receiver is None:
            callback(*args)
        elif not self._receiver.is_dead:
            self._simulator.loop.call_soon(callback, *args, context=self._receiver.main.context())
