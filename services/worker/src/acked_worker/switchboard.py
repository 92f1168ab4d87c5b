"""Routes what happens to attempts, and commands, to the parts that act on it.

| event | comes from | goes to |
|---|---|---|
| `claimed` | a lane | the reporter, the minute buckets; the runners, where a cancel was requested already |
| `late` | a lane | the recorder, as not started |
| `progressed` | the runners | the progress writer and the reporter |
| `ended` | the runners | the slots of its lane, the minute buckets, then the recorder |
| `recorded` | the recorder | the reporter |
| `room_changed` | the recorder | all lanes: they pause while too many outcomes wait |
| `commanded` | a gateway | the runners for a cancel; the stop event for a drain |

What a renewal says, lost or cancelled, goes from `Leases` to the runners without a detour. All on the plumbing loop; no
method waits.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence

from acked_common.background.minute_writer import MinuteWriter
from acked_common.channel.frames import Cancel
from acked_common.channel.worker_end import Command
from acked_common.model.events import JobEvent
from acked_common.runtime.clock import Clock
from acked_common.runtime.logs import get_log
from acked_worker.consume.claimed_jobs import claimed_event
from acked_worker.consume.in_flight import InFlight, InFlightAttempts
from acked_worker.consume.lanes import Lanes
from acked_worker.execute.attempt import Assignment
from acked_worker.execute.outcome import Ending, Interrupted, InterruptReason
from acked_worker.handler_runner import HandlerRunner
from acked_worker.record.progress_writer import ProgressWriter
from acked_worker.record.recorder import Recorder
from acked_worker.report.reporter import Reporter

log = get_log(__name__)

UNRECORDED = "outcomes wait to be recorded"


class Switchboard:
    """The events of one worker process. Made first, and connected once all parts are there."""

    def __init__(self, running: InFlightAttempts, clock: Clock, stop: asyncio.Event, minutes: MinuteWriter) -> None:
        """`stop` is set by the command to drain."""
        self._running = running
        self._clock = clock
        self._stop = stop
        self._minutes = minutes
        self._lanes: Lanes
        self._runners: HandlerRunner
        self._recorder: Recorder
        self._progress: ProgressWriter
        self._reporter: Reporter

    def connect(
        self,
        *,
        lanes: Lanes,
        runners: HandlerRunner,
        recorder: Recorder,
        progress: ProgressWriter,
        reporter: Reporter,
    ) -> None:
        """Route to these parts; before the first event."""
        self._lanes = lanes
        self._runners = runners
        self._recorder = recorder
        self._progress = progress
        self._reporter = reporter

    # From lanes (see `lane_runner.Starts`).

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Run assignments, each where it belongs."""
        self._runners.submit(assignments)

    def claimed(self, held: Sequence[InFlight], *, waited_s: float) -> None:
        """Jobs were claimed, and run."""
        self._reporter.report([claimed_event(one.job) for one in held])
        for (tenant, kind), count in Counter((one.job.tenant, one.job.kind) for one in held).items():
            self._minutes.note_started(tenant, kind, count, waited_s=waited_s)
        for one in held:
            if one.job.cancel_requested_at is not None:
                self._cancel(one)

    def late(self, held: Sequence[InFlight]) -> None:
        """Jobs were claimed too long ago to start."""
        log.warning("claimed too late to start; given back", jobs=len(held))
        self._recorder.record([(one, Interrupted(InterruptReason.NOT_STARTED)) for one in held])

    # From the runners.

    def progressed(self, reports: list[tuple[str, int, object]]) -> None:
        """Handlers reported progress: job id, attempt, progress."""
        self._reporter.progress(self._progress.take(reports))

    def ended(self, ended: list[tuple[Assignment, Ending]]) -> None:
        """Attempts have ended."""
        found: list[tuple[InFlight, Ending]] = []
        for assignment, ending in ended:
            held = self._running.get(assignment.id, assignment.attempt)
            if held is None:
                continue
            held.ended = True
            self._lanes.note_ended(held)
            found.append((held, ending))
        self._minutes.note_runs((held.job.tenant, held.job.kind, held.took_s) for held, _ in found)
        self._recorder.record(found)

    # From the recorder (see `recorder.OutcomeListener`).

    def recorded(self, events: Sequence[JobEvent]) -> None:
        """Transitions are in the store."""
        self._reporter.report(events)

    def room_changed(self, has_room: bool) -> None:
        """Results that MongoDB takes more slowly than handlers make them must not fill the memory."""
        if has_room:
            self._lanes.resume(UNRECORDED)
        else:
            self._lanes.pause(UNRECORDED)

    # From gateways.

    def commanded(self, command: Command) -> None:
        """A gateway sent a command."""
        if isinstance(command, Cancel):
            for job in command.jobs:
                held = self._running.get(str(job.id), job.attempt)
                if held is not None:
                    self._cancel(held)
        else:
            log.info("asked to drain")
            self._stop.set()

    def _cancel(self, held: InFlight) -> None:
        if not held.ended and not held.cancelling:
            held.cancelling = True
            self._runners.interrupt(held, InterruptReason.CANCELLED)
