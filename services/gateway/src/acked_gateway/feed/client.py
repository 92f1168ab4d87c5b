"""One connection of the feed: its subscriptions, and the frame that it gets next. Pure."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from acked_gateway.feed.frames import Sub

if TYPE_CHECKING:
    from acked_gateway.feed.subscription import Subscription


class Client:
    """The subscriptions of one connection and its outgoing frames. `on_frame` is called when a frame may be ready."""

    def __init__(self, on_frame: Callable[[], None]) -> None:
        self._on_frame = on_frame
        self._control: deque[str] = deque()
        self._due: dict[Subscription, None] = {}
        self.subscriptions: dict[Sub, Subscription] = {}
        self.without_snapshot: list[Subscription] = []
        """Subscriptions that need a snapshot; the writer takes them after each frame."""
        self.ids = 0

    def send_control(self, frame: str) -> None:
        """Send a frame before all frames of subscriptions."""
        self._control.append(frame)
        self._on_frame()

    def mark_due(self, subscription: "Subscription") -> None:
        """Note that the subscription has a frame to send."""
        self._due[subscription] = None
        self._on_frame()

    def remove(self, subscription: "Subscription") -> None:
        """Send no more frames of a subscription."""
        self._due.pop(subscription, None)
        if subscription in self.without_snapshot:
            self.without_snapshot.remove(subscription)

    def next_frame(self) -> str | None:
        """Return the next frame to send, one of each subscription in turn; None if there is none."""
        if self._control:
            return self._control.popleft()
        while self._due:
            subscription = next(iter(self._due))
            del self._due[subscription]
            frame = subscription.next_frame()
            if subscription.is_due:
                self._due[subscription] = None
            if frame is not None:
                return frame
        return None
