"""One connection of the feed: its subscriptions, and the frame that it gets next. Pure."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from acked_gateway.feed.frames import Sub

if TYPE_CHECKING:
    from acked_gateway.feed.subscription import Subscription


class Client:
    """One connection: its subscriptions, and what is to be sent next. `wake` is called when there is something new."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._control: deque[str] = deque()
        self._due: dict[Subscription, None] = {}
        self.subscriptions: dict[Sub, Subscription] = {}
        self.wanting: list[Subscription] = []
        """Subscriptions that need a snapshot; whoever sends takes them after each frame."""
        self.ids = 0

    def tell(self, frame: str) -> None:
        """Sends a frame before all others."""
        self._control.append(frame)
        self._wake()

    def note_due(self, subscription: "Subscription") -> None:
        """The subscription has something to send."""
        self._due[subscription] = None
        self._wake()

    def forget(self, subscription: "Subscription") -> None:
        """The subscription is over."""
        self._due.pop(subscription, None)
        if subscription in self.wanting:
            self.wanting.remove(subscription)

    def next_frame(self) -> str | None:
        """What is sent next: one frame of each subscription in turn; None when nothing is left."""
        if self._control:
            return self._control.popleft()
        while self._due:
            subscription = next(iter(self._due))
            del self._due[subscription]
            frame = subscription.take()
            if subscription.is_due:
                self._due[subscription] = None
            if frame is not None:
                return frame
        return None
