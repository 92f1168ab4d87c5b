"""What a bulk action does to a job, in each of its states."""

from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from msgspec.structs import replace

from acked_common.model.bulk_actions import (
    MOVES,
    BulkAction,
    BulkPlan,
    BulkResolution,
    BulkVerb,
)
from acked_common.model.ids import new_id
from acked_common.model.lifecycle import HistoryEntry, Reason, State, Transition
from acked_common.model.principal import Actor
from acked_common.store.records import Job
from acked_gateway.bulk import rules
from acked_gateway.bulk.rules import decide
from acked_gateway.jobs.acts import Acts
from support.bulk import BY, chosen, ordered
from support.factories import ManualClock
from support.parts import common_settings

ACTS = Acts(common_settings().times)
NOW = ManualClock().now()
BEFORE, AFTER = NOW - timedelta(seconds=9), NOW + timedelta(seconds=1)
PLAN = BulkPlan(NOW, new_id(), 1)
RESOLUTION = BulkResolution(State.SUCCEEDED, b"1", "by hand")


def action(verb: BulkVerb, *, by_id: bool = False) -> BulkAction:
    resolution = RESOLUTION if verb is BulkVerb.RESOLVE else None
    if by_id:
        return ordered(PLAN, verb, ids=1, resolution=resolution)
    return ordered(PLAN, verb, choice=chosen(*MOVES[verb], kind="k"), resolution=resolution)


def job(state: State, **fields: Any) -> Job:
    ended = {"finished_at": BEFORE} if state.is_terminal else {}
    standing = {"reason": "accepted", "rev": 3, "run": 1, "attempt": 1, "failures": 0, "crashes": 0}
    given = {**standing, "accepted_at": BEFORE, "payload": b"", "first_state": State.QUEUED, **ended, **fields}
    return Job(id=new_id(), kind="k", state=state, **given)


@pytest.mark.parametrize(("verb", "state", "by_id"), list(product(BulkVerb, State, [False, True])))
def test_each_verb_moves_the_jobs_in_its_states(verb: BulkVerb, state: State, by_id: bool) -> None:
    made = action(verb, by_id=by_id)
    found = decide(made, job(state), at=NOW, acts=ACTS)
    if state not in MOVES[verb]:
        assert found == rules.WRONG_STATE
        return
    assert isinstance(found, Transition)
    assert state in found.leaves
    assert found.by == Actor(BY.client, BY.token_id, f"bulk:{made.id}")


def test_a_running_job_is_asked_to_stop() -> None:
    found = decide(action(BulkVerb.CANCEL), job(State.RUNNING), at=NOW, acts=ACTS)
    assert isinstance(found, Transition)
    assert (found.reason, found.to) == (Reason.CANCEL_REQUESTED, State.RUNNING)
    again = decide(action(BulkVerb.CANCEL), job(State.RUNNING, cancel_requested=True), at=NOW, acts=ACTS)
    assert again == rules.CANCELLING


def test_a_resolve_gives_its_end() -> None:
    found = decide(action(BulkVerb.RESOLVE), job(State.FAILED), at=NOW, acts=ACTS)
    assert isinstance(found, Transition)
    assert (found.to, found.sets["result"], found.sets["note"]) == (State.SUCCEEDED, b"1", "by hand")


@pytest.mark.parametrize("verb", [BulkVerb.RETRY, BulkVerb.RESOLVE, BulkVerb.ERASE])
@pytest.mark.parametrize("by_id", [False, True])
def test_what_ended_after_the_plan_is_left(verb: BulkVerb, by_id: bool) -> None:
    late = job(State.FAILED, finished_at=AFTER)
    assert decide(action(verb, by_id=by_id), late, at=AFTER, acts=ACTS) == rules.MOVED
    assert not rules.is_in_plan(late, PLAN)
    assert rules.is_in_plan(job(State.FAILED, finished_at=NOW), PLAN)


def test_what_was_accepted_after_the_plan_is_left() -> None:
    late = job(State.SCHEDULED, accepted_at=AFTER)
    assert decide(action(BulkVerb.CANCEL), late, at=AFTER, acts=ACTS) == rules.MOVED
    assert not rules.is_in_plan(late, PLAN)


def test_what_has_left_the_state_of_the_filter_is_left() -> None:
    made = ordered(PLAN, BulkVerb.CANCEL, choice=chosen(State.SCHEDULED, kind="k"))
    assert decide(made, job(State.QUEUED), at=NOW, acts=ACTS) == rules.MOVED


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("verb", BulkVerb)
def test_what_the_action_has_moved_is_done_whatever_came_of_it(verb: BulkVerb, state: State) -> None:
    made = action(verb)
    entry = HistoryEntry(2, State.QUEUED, Reason.RETRIED, 1, NOW, rules.actor_of(made))
    moved = job(state, history=(entry, HistoryEntry(3, state, Reason.CLAIMED, 2, AFTER)))
    assert decide(made, moved, at=AFTER, acts=ACTS) is rules.Settled.DONE
    assert decide(replace(made, id=new_id()), moved, at=NOW, acts=ACTS) is not rules.Settled.DONE


def test_a_job_that_is_not_there_is_told() -> None:
    assert decide(action(BulkVerb.RETRY, by_id=True), None, at=NOW, acts=ACTS) == rules.NOT_FOUND


def test_what_was_erased_is_neither_retried_nor_erased() -> None:
    erased = job(State.FAILED, erased_at=BEFORE)
    for verb in (BulkVerb.RETRY, BulkVerb.ERASE):
        assert decide(action(verb), erased, at=NOW, acts=ACTS) == rules.ERASED


@pytest.mark.parametrize(("reason", "word"), [(Reason.RESOLVED, rules.RESOLVED), (Reason.EDITED, rules.EDITED)])
def test_what_an_operator_has_attended_to_is_retried_by_its_id_alone(reason: Reason, word: str) -> None:
    attended = job(State.FAILED, reason=reason.value, edited_to=new_id())
    assert decide(action(BulkVerb.RETRY), attended, at=NOW, acts=ACTS) == word
    assert isinstance(decide(action(BulkVerb.RETRY, by_id=True), attended, at=NOW, acts=ACTS), Transition)
    # Retried since, it is a failed job like any other.
    again = job(State.FAILED, edited_to=new_id())
    assert isinstance(decide(action(BulkVerb.RETRY), again, at=NOW, acts=ACTS), Transition)


def test_an_erased_job_can_not_be_given_a_result() -> None:
    erased = job(State.FAILED, erased_at=BEFORE)
    assert decide(action(BulkVerb.RESOLVE), erased, at=NOW, acts=ACTS) == rules.ERASED


def test_every_refusal_is_explained() -> None:
    words = {value for name, value in vars(rules).items() if name.isupper() and isinstance(value, str)}
    assert words == set(rules.WHY)
