"""Route events of attempts, and commands, to the parts that handle them.

| event | comes from | goes to |
|---|---|---|
| `claimed` | a lane | the reporter, the minute buckets; the runners, where a cancel was requested already |
| `late` | a lane | the recorder, as not started |
| `progressed` | the runners | the progress writer and the reporter |
| `ended` | the runners | the ledgers, slots, minute buckets, notes of callback endpoints, then the recorder |
| `recorded` | the recorder | the lanes, whose limits have free places now; the reporter |
| `room_changed` | the recorder | all lanes: they pause while too many outcomes wait |
| `commanded` | a gateway | the runners for a cancel or a signal; the stop event for a drain |

`Leases` passes lost and cancelled jobs to the runners directly. All methods run on the plumbing loop and return at
once.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence

from acked_common.background.minute_writer import MinuteWriter
from acked_common.channel.frames import Cancel, Signalled
from acked_common.channel.worker_end import Command
from acked_common.model.events import JobEvent
from acked_common.outcomes.outcome import Ending, Interrupted, InterruptReason
from acked_common.runtime.clock import Clock
from acked_common.runtime.logs import get_log
from acked_worker.consume.claimed_jobs import claimed_event
from acked_worker.consume.in_flight import InFlight, InFlightAttempts
from acked_worker.consume.lanes import Lanes
from acked_worker.durable.attempt_ledgers import AttemptLedgers
from acked_worker.execute.attempt import Assignment
from acked_worker.execute.endpoint_notes import EndpointNotes
from acked_worker.handler_runner import HandlerRunner
from acked_worker.record.progress_writer import ProgressWriter
from acked_worker.record.recorder import Recorder
from acked_worker.report.reporter import Reporter

log = get_log(__name__)

UNRECORDED = "outcomes wait to be recorded"


class Switchboard:
    """The events of one worker process. It is made first, and connected once all parts exist."""

    def __init__(self, running: InFlightAttempts, clock: Clock, stop: asyncio.Event, minutes: MinuteWriter) -> None:
        """`stop` is set by the command to drain."""
        self._running = running
        self._clock = clock
        self._stop = stop
        self._minutes = minutes
        self._lanes: Lanes
        self._ledgers: AttemptLedgers
        self._runners: HandlerRunner
        self._recorder: Recorder
        self._progress: ProgressWriter
        self._reporter: Reporter
        self._endpoints: EndpointNotes

    def connect(
        self,
        *,
        lanes: Lanes,
        ledgers: AttemptLedgers,
        runners: HandlerRunner,
        recorder: Recorder,
        progress: ProgressWriter,
        reporter: Reporter,
        endpoints: EndpointNotes,
    ) -> None:
        """Route to these parts; before the first event."""
        self._lanes = lanes
        self._ledgers = ledgers
        self._runners = runners
        self._recorder = recorder
        self._progress = progress
        self._reporter = reporter
        self._endpoints = endpoints

    # From lanes (see `lane_runner.Starts`).

    def submit(self, assignments: Sequence[Assignment]) -> None:
        """Run assignments, each in its place."""
        self._runners.submit(assignments)

    def claimed(self, held: Sequence[InFlight], *, waited_s: float) -> None:
        """Handle jobs that were claimed and submitted."""
        self._reporter.report([claimed_event(one.job) for one in held])
        for (tenant, kind), count in Counter((one.job.tenant, one.job.kind) for one in held).items():
            self._minutes.note_started(tenant, kind, count, waited_s=waited_s)
        for one in held:
            if one.job.cancel_requested_at is not None:
                self._cancel(one)

    def late(self, held: Sequence[InFlight]) -> None:
        """Return jobs that were claimed too long ago to start."""
        log.warning("claimed too late to start; released", jobs=len(held))
        self._recorder.record([(one, Interrupted(InterruptReason.NOT_STARTED)) for one in held])

    # From the runners.

    def progressed(self, reports: list[tuple[str, int, object]]) -> None:
        """Handle progress of handlers: job id, attempt, progress."""
        self._reporter.progress(self._progress.take(reports))

    def ended(self, ended: list[tuple[Assignment, Ending]]) -> None:
        """Handle attempts that have ended."""
        found: list[tuple[InFlight, Ending]] = []
        for assignment, ending in ended:
            held = self._running.get(assignment.id, assignment.attempt)
            if held is None:
                continue
            held.ended = True
            self._ledgers.end((held.id, held.job.attempt))
            self._lanes.note_ended(held)
            found.append((held, ending))
        self._endpoints.ended(ended)
        self._minutes.note_runs((held.job.tenant, held.job.kind, held.took_s) for held, _ in found)
        self._recorder.record(found)

    # From the recorder (see `recorder.OutcomeListener`).

    def recorded(self, events: Sequence[JobEvent]) -> None:
        """Handle transitions that are stored."""
        self._lanes.pull([event.id for event in events])
        self._reporter.report(events)

    def room_changed(self, has_room: bool) -> None:
        """Pause lanes while results wait, so that a slow MongoDB does not fill the memory."""
        if has_room:
            self._lanes.resume(UNRECORDED)
        else:
            self._lanes.pause(UNRECORDED)

    # From gateways.

    def commanded(self, command: Command) -> None:
        """Handle a command of a gateway."""
        if isinstance(command, Cancel):
            for job in command.jobs:
                held = self._running.get(str(job.id), job.attempt)
                if held is not None:
                    self._cancel(held)
        elif isinstance(command, Signalled):
            for job in command.jobs:
                held = self._running.get(str(job.id), job.attempt)
                if held is not None and not held.ended:
                    self._runners.signal_came(held)
        else:
            log.info("asked to drain")
            self._stop.set()

    def _cancel(self, held: InFlight) -> None:
        if not held.ended and not held.cancelling:
            held.cancelling = True
            self._runners.interrupt(held, InterruptReason.CANCELLED)
