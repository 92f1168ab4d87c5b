"""The supervisor process of a native stack: `python -m deploy.native.supervise -c supervisord.conf`.

supervisord as it ships restarts itself on SIGHUP: it stops every part and, since `up` starts them, starts none. SIGUSR1
ends it and orphans the parts. Here both reopen the logs, as SIGUSR2 does. A shutdown stops all parts of one priority at
once, because draining workers one after the other would add up their drain times. Two programs of one part share its
logs. A restarted process has new ports, so the supervisor updates the targets of Prometheus.
"""

import signal
from types import FrameType
from typing import Any

from supervisor import events, supervisord
from supervisor.medusa.asyncore_25 import ExitNow
from supervisor.options import ServerOptions

from deploy.native.layout import layout_from
from deploy.native.part_logs import PartLogger
from deploy.native.targets import write_native_targets

_REOPEN_LOGS = signal.SIGUSR2


class _Options(ServerOptions):  # type: ignore[misc]
    def setsignals(self) -> None:
        super().setsignals()

        def reopen_logs(_: int, frame: FrameType | None) -> None:
            self.signal_receiver.receive(_REOPEN_LOGS, frame)

        for number in (signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, reopen_logs)

    def getLogger(self, *arguments: Any) -> PartLogger:  # noqa: N802 - the library's name
        return PartLogger(*arguments)


class _Supervisor(supervisord.Supervisor):  # type: ignore[misc]
    stop_groups: list[Any] | None

    def __init__(self, options: _Options) -> None:
        super().__init__(options)
        self._layout = layout_from()

    def ordered_stop_groups_phase_1(self) -> None:
        if self.stop_groups:
            last = self.stop_groups[-1].config.priority
            for group in self.stop_groups:
                if group.config.priority == last:
                    group.stop_all()

    def ordered_stop_groups_phase_2(self) -> None:
        self.stop_groups = [group for group in self.stop_groups or () if group.get_unstopped_processes()]

    def runforever(self) -> None:
        # Not earlier, because it clears all earlier subscriptions.
        events.subscribe(events.Tick5Event, self._tell_targets)
        super().runforever()

    def _tell_targets(self, _: object) -> None:
        # A full disk must not end the supervisor.
        processes = [process for group in self.process_groups.values() for process in group.processes.values()]
        try:
            write_native_targets(self._layout, {process.config.name: process.pid for process in processes})
        except OSError as error:
            self.options.logger.warn(f"the targets of Prometheus can't be written: {error}")


def main() -> None:
    """Run the supervisor; return when it has stopped every part."""
    options = _Options()
    options.realize(None, doc=supervisord.__doc__)
    options.first, options.test = True, False
    try:
        _Supervisor(options).main()
    except ExitNow:
        pass
    options.close_httpservers()
    options.close_logger()


if __name__ == "__main__":
    main()
