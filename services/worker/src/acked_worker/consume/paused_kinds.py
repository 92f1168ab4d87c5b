"""Hold the lanes of paused kinds, and release their claimed jobs that have not begun."""

from collections.abc import Callable, Collection, Mapping

from acked_common.background.pause_cache import PauseCache
from acked_common.model.instants import rfc3339
from acked_common.model.pauses import Pause
from acked_common.runtime.logs import get_log
from acked_common.store.records import KindRecord
from acked_worker.consume.lanes import Lanes

log = get_log(__name__)


class PausedKinds:
    """The paused ones of the kinds that this worker serves."""

    def __init__(
        self,
        pauses: PauseCache,
        kinds: Mapping[str, KindRecord],
        lanes: Lanes,
        give_back_waiting: Callable[[Collection[str]], None],
    ) -> None:
        """`give_back_waiting` ends claimed attempts of these kinds whose handlers have not begun."""
        self._pauses = pauses
        self._kinds = kinds
        self._lanes = lanes
        self._give_back_waiting = give_back_waiting
        self._paused: Mapping[str, Pause] = {}
        pauses.on_read(self.heed)

    def heed(self) -> None:
        """Hold the paused lanes and resume all others. Runs after each read, so that late claims are released too."""
        before, self._paused = self._paused, {k: p for k, p in self._pauses.paused.items() if k in self._kinds}
        for kind in self._paused.keys() - before.keys():
            pause = self._paused[kind]
            log.info("kind paused", kind=kind, by=pause.client, since=rfc3339(pause.since_at))
        for kind in before.keys() - self._paused.keys():
            log.info("kind resumed", kind=kind)
        self._lanes.hold({self._kinds[kind].lane for kind in self._paused})
        if self._paused:
            self._give_back_waiting(self._paused.keys())
