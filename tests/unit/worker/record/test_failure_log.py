"""What the log line of a failed attempt says, and what it does not."""

from datetime import UTC, datetime, timedelta

import pytest

from acked_common.model.lifecycle import Transition
from acked_common.outcomes.outcome import Crashed, Ending, ErrorInfo, Failed, timed_out
from acked_common.outcomes.outcome_rules import Defaults, transition_after
from acked_common.runtime.limited_log import Line
from acked_common.store.records import ClaimedJob
from acked_worker.record.failure_log import failure_line, group_of
from support.factories import kind_record
from support.fields import filled

AT = datetime(2026, 1, 2, tzinfo=UTC)
SECRET = "4711-is-nobodys-business"
JOB = filled(ClaimedJob, payload=SECRET.encode(), started_at=AT, failures=0, crashes=0)
ENDINGS: dict[str, Ending] = {
    "failed": Failed(ErrorInfo("T", SECRET, retryable=True, traceback=SECRET, culprit="mail.send: raise T()"), True),
    "permanent": Failed(ErrorInfo("T", SECRET, retryable=False), False),
    "timed out": timed_out(1.0, SECRET),
    "crashed": Crashed("killed by SIGKILL"),
}


def line_of(ending: Ending, *, cancelling: bool = False) -> tuple[Line, Transition]:
    kind = kind_record(JOB.kind, "lane", max_attempts=9)
    found = transition_after(
        ending,
        JOB,
        kind,
        Defaults(10.0, 3600.0, 3600.0),
        worker="worker-7",
        cancelling=cancelling,
        at=AT + timedelta(milliseconds=1500),
    )
    assert found is not None and found.ended is not None
    return failure_line(found, found.ended, JOB), found


@pytest.mark.parametrize("name", ENDINGS)
def test_line_names_job_worker_and_group_and_tells_no_secret(name: str) -> None:
    line, transition = line_of(ENDINGS[name])
    assert line.event == "attempt failed"
    named = {"job_id": str(JOB.id), "kind": JOB.kind, "attempt": JOB.attempt, "worker": "worker-7", "duration_s": 1.5}
    assert named.items() <= line.fields.items()
    assert transition.ended is not None and line.fields["group"] == group_of(transition.ended)
    assert SECRET not in str(line)


@pytest.mark.parametrize(("name", "is_grave"), [("failed", False), ("permanent", True), ("crashed", False)])
def test_line_is_a_warning_where_the_job_has_failed(name: str, is_grave: bool) -> None:
    line, transition = line_of(ENDINGS[name])
    assert line.is_grave is is_grave
    due_at = transition.sets.get("due_at")
    waits_s = None if due_at is None else round((due_at - transition.at).total_seconds(), 3)
    assert line.fields["will_retry_in_s"] == waits_s


def test_line_of_a_job_that_is_cancelled_is_no_warning() -> None:
    line, _ = line_of(ENDINGS["failed"], cancelling=True)
    assert (line.is_grave, line.fields["reason"], line.fields["will_retry_in_s"]) == (False, "cancelled", None)
