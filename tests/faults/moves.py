"""What operators do in an experiment while something is struck again and again: each returns when it has checked."""

import time
from collections.abc import Callable, Sequence

from acked_common.model.bulk_actions import BulkVerb
from acked_common.model.lifecycle import State
from faults.experiment import Experiment
from faults.operators import PAUSED_WITHIN_S, Plan, unless_away
from support.stacks import eventually

MANY, LATER, EACH = 160, 40, 20
"""Jobs of a bulk action, those that fail behind its plan, and those that are named one by one."""
RATE_PER_S = 10.0
"""So slow that all strikes fall into the action, also on a busy machine."""
AN_HOUR_S = 3600.0
LOAD = 10.0
PLANNED = "planned"

Strike = Callable[[], None]


def planned(run: Experiment, number: int = MANY) -> Plan:
    """The plan of a retry over jobs that have failed, and succeed when they are retried."""
    # A busy machine may leave some requests without an answer; the plan tells which jobs there are.
    run.client.burst(number, kind="fault.fails", seconds=0.05, group=PLANNED)
    run.operators.desk.wait_settled(PLANNED)
    plan = run.operators.bulk.plan(BulkVerb.RETRY, PLANNED, State.FAILED)
    assert len(plan.ids) > number / 2
    return plan


def leave_failed(run: Experiment, plan: Plan) -> int:
    """Expects those jobs of the group to stay failed that the plan does not name; their number."""

    def failed() -> list[str]:
        return sorted(run.operators.desk.ids(PLANNED, State.FAILED) - plan.ids)

    run.operators.desk.wait_settled(PLANNED)
    left = eventually(unless_away(failed), within_s=150, what="jobs that failed later are as they were")
    run.fails_on_purpose.update(left)
    return len(left)


def retry_many(run: Experiment, strikes: Sequence[Strike]) -> None:
    """A bulk retry of failed jobs; more fail behind the plan, and are left as they are."""
    plan = planned(run)
    run.client.burst(LATER, kind="fault.fails", seconds=0.05, group=PLANNED)
    with run.client.load(LOAD, seconds=0.2):
        ordered = run.operators.bulk.order(plan, RATE_PER_S)
        for number, strike in enumerate(strikes, 1):
            run.operators.bulk.wait_done(ordered, number / (len(strikes) + 2))
            strike()
        done = run.operators.bulk.wait_ended(ordered)
    assert done == len(plan.ids), run.operators.bulk.commands()
    run.note = f"{done} moved, {leave_failed(run, plan)} that failed later left"


def run_now(run: Experiment, strikes: Sequence[Strike]) -> None:
    """Jobs that are delayed, and jobs that back off, run now: by a bulk action, and some of them one by one."""
    run.client.burst(MANY // 2, seconds=0.05, delay_s=AN_HOUR_S, group="now")
    run.client.burst(MANY // 2, seconds=0.05, kind="fault.backs-off", group="now")
    each = run.client.burst(EACH, seconds=0.05, delay_s=AN_HOUR_S, group="each")
    run.operators.desk.wait_settled("now")
    plan = run.operators.bulk.plan(BulkVerb.RUN_NOW, "now", State.SCHEDULED)
    assert len(plan.ids) > MANY / 2
    with run.client.load(LOAD, seconds=0.2):
        ordered = run.operators.bulk.order(plan, RATE_PER_S)
        run.operators.run_each_now(each)
        for number, strike in enumerate(strikes, 1):
            run.operators.bulk.wait_done(ordered, number / (len(strikes) + 2))
            strike()
        done = run.operators.bulk.wait_ended(ordered)
    assert done == len(plan.ids), run.operators.bulk.commands()
    # Of a request without an answer the job may be there, and would wait for an hour.
    for group in ("now", "each"):
        run.operators.move_at_the_end(BulkVerb.RUN_NOW, group, State.SCHEDULED)
    run.note = f"{done} moved by a bulk action, {len(each)} one by one"


def pause_and_resume(run: Experiment, strikes: Sequence[Strike]) -> None:
    """A kind under load is paused once for each strike, which comes before the pause, or while it lasts."""
    waited = 0
    with run.client.load(LOAD, seconds=0.2):
        for number, strike in enumerate(strikes):
            run.wait_running(1)
            if number % 2:
                strike()
            paused = run.operators.pauses.pause("fault.work")
            time.sleep(PAUSED_WITHIN_S)
            if not number % 2:
                strike()
            run.wait_accepted(int(LOAD))
            run.rig.wait_whole()
            # Who has just come back would take at once what waits.
            run.wait_accepted(int(LOAD))
            waiting = run.in_flight(State.QUEUED)
            assert waiting >= LOAD
            waited += waiting
            run.operators.pauses.resume(paused)
    paused_s = sum(pause.until_at - pause.from_at for pause in run.operators.pauses.seen())
    assert paused_s > len(strikes)
    run.note = f"{waited} jobs waited, nothing began in {paused_s:.0f} s"


MOVES = {"bulk retry": retry_many, "run now": run_now, "pause and resume": pause_and_resume}
