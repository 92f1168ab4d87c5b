"""The window of resumed jobs: it follows the time that they wait, and slow kinds leave it."""

from collections.abc import Sequence
from datetime import UTC, datetime

from acked_common.background.resume_window import (
    FORGOTTEN_AFTER_S,
    LEAST,
    MOST,
    MOST_WAITING,
    SAMPLE,
    SLOW_S,
    TARGET_S,
    ResumeWindow,
)
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import State
from acked_common.store.parked import ResumedJob
from acked_common.store.records import Revision

AT = datetime(2026, 1, 2, tzinfo=UTC)


def resumed(count: int, kind: str = "nap") -> list[ResumedJob]:
    return [ResumedJob(new_id(), kind, AT, 4) for _ in range(count)]


def fill(window: ResumeWindow, at_s: float, kind: str = "nap") -> list[ResumedJob]:
    """Resume as many as may be; return them."""
    jobs = resumed(window.room(at_s), kind)
    window.note_resumed(jobs, at_s)
    assert window.room(at_s) == 0
    return jobs


def see(window: ResumeWindow, at_s: float, claimed: Sequence[ResumedJob], *, slow: bool = False) -> None:
    """Look at the counted jobs, of which workers have claimed some."""
    gone = {job.id for job in claimed}
    asked = window.to_look_at(at_s, slow=slow)
    found = {job_id: Revision(4, State.QUEUED) for job_id in asked if job_id not in gone}
    found |= {job_id: Revision(5, State.RUNNING) for job_id in asked if job_id in gone}
    window.note_seen(asked, found, at_s)


def test_an_unused_window_has_room_for_the_least() -> None:
    assert ResumeWindow().room(0.0) == LEAST


def test_a_full_window_that_workers_emptied_doubles_up_to_a_bound() -> None:
    window = ResumeWindow()
    sizes = []
    for number in range(12):
        at_s = number * 0.02
        jobs = fill(window, at_s)
        sizes.append(len(jobs))
        see(window, at_s + 0.02, jobs)
    assert sizes[:4] == [LEAST, 2 * LEAST, 4 * LEAST, 8 * LEAST]
    assert max(sizes) == sizes[-1] == MOST


def test_a_window_that_was_not_full_does_not_grow() -> None:
    window = ResumeWindow()
    for number in range(5):
        jobs = resumed(3)
        window.note_resumed(jobs, number * 1.0)
        window.room(number * 1.0)
        see(window, number * 1.0 + 0.02, jobs)
    assert window.room(9.0) == LEAST


def test_jobs_that_wait_too_long_shrink_the_window_once_in_that_time() -> None:
    window = ResumeWindow()
    for number in range(4):
        see(window, number * 0.02 + 0.01, fill(window, number * 0.02))
    jobs = fill(window, 1.0)
    size = len(jobs)
    assert size == 16 * LEAST
    for late_s in (TARGET_S + 0.01, TARGET_S + 0.02):
        see(window, 1.0 + late_s, jobs[:1])
    see(window, 1.0 + TARGET_S + 0.03, jobs[1:])
    # The look that found all claimed has made what was left larger by a quarter.
    assert window.room(1.2) == size * 3 // 4 * 5 // 4


def test_small_room_is_not_worth_a_write() -> None:
    window = ResumeWindow()
    jobs = fill(window, 0.0)
    see(window, 0.02, jobs[: LEAST // 4 - SAMPLE])
    assert window.room(0.02) == 0
    see(window, 0.03, jobs[: LEAST // 4])
    assert window.room(0.03) == LEAST // 4


def test_a_look_asks_for_a_sample_and_each_stands_for_those_behind_it() -> None:
    window = ResumeWindow()
    jobs = fill(window, 0.0)
    asked = window.to_look_at(0.01, slow=False)
    assert asked == [job.id for job in jobs[::SAMPLE]]
    # The second one is claimed, so those up to the third one no longer count; the first one still waits.
    see(window, 0.01, jobs[SAMPLE : SAMPLE + 1])
    assert window.to_look_at(0.02, slow=False)[:2] == [jobs[0].id, jobs[2 * SAMPLE].id]
    assert window.waiting == LEAST - SAMPLE


def test_a_page_is_a_part_of_a_large_window_and_never_tiny() -> None:
    window = ResumeWindow()
    assert window.page == LEAST
    for number in range(4):
        see(window, number * 0.02 + 0.01, fill(window, number * 0.02))
    assert (window.room(1.0), window.page) == (16 * LEAST, 4 * LEAST)


def test_jobs_that_wait_too_long_never_make_the_window_larger() -> None:
    """Workers took half of it between two looks that lie far apart: those that are left have still waited long."""
    window = ResumeWindow()
    jobs = fill(window, 0.0)
    see(window, 2 * TARGET_S, jobs[: LEAST // 2])
    assert window.room(2 * TARGET_S) == LEAST // 2


def test_a_slow_kind_leaves_the_window_to_the_others() -> None:
    window = ResumeWindow()
    jobs = fill(window, 0.0, "busy")
    assert (window.room(0.1), window.closed(0.1)) == (0, set())
    assert (window.slow(SLOW_S), window.closed(SLOW_S)) == ({"busy"}, {"busy"})
    assert window.room(SLOW_S) == LEAST
    assert window.to_look_at(SLOW_S, slow=False) == []
    see(window, SLOW_S, jobs, slow=True)
    assert (window.slow(SLOW_S), window.waiting) == (set(), 0)


def test_half_of_what_a_slow_kind_has_queued_may_be_resumed_jobs() -> None:
    """Behind a backlog resumed jobs get through, and the others wait at most twice as long."""
    window = ResumeWindow()
    fill(window, 0.0, "busy")
    window.note_queued({"busy": 4 * LEAST, "other": 3})
    window.note_resumed(resumed(2 * LEAST - 1, "busy"), SLOW_S)
    assert window.closed(SLOW_S) == set()
    window.note_resumed(resumed(1, "busy"), SLOW_S)
    assert window.closed(SLOW_S) == {"busy"}
    window.note_queued({})
    assert window.closed(SLOW_S) == {"busy"}


def test_what_no_worker_takes_stops_to_count() -> None:
    window = ResumeWindow()
    fill(window, 0.0)
    window.note_resumed(resumed(1), 1.0)
    window.to_look_at(FORGOTTEN_AFTER_S, slow=False)
    assert window.waiting == 1
    window.to_look_at(FORGOTTEN_AFTER_S + 1.0, slow=False)
    assert window.waiting == 0


def test_what_was_resumed_again_meanwhile_stops_to_count() -> None:
    """It ran, parked, and another process has resumed it."""
    window = ResumeWindow()
    (job,) = resumed(1)
    window.note_resumed([job], 0.0)
    window.note_seen([job.id], {job.id: Revision(7, State.QUEUED)}, 0.1)
    assert window.waiting == 0


def test_all_kinds_together_are_bounded() -> None:
    window = ResumeWindow()
    for number in range(4):
        window.note_resumed(resumed(MOST_WAITING // 4 - 1, f"k{number}"), 0.0)
    assert window.room(1.0) == 4
    window.note_resumed(resumed(4), 1.0)
    assert window.room(1.0) == 0
