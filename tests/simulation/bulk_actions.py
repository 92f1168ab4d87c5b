"""Bulk actions of a simulation: what must hold when all of them have ended."""

from collections import Counter
from typing import TYPE_CHECKING

from acked_common.model.audit import AuditAction
from acked_common.model.bulk_actions import BulkState

if TYPE_CHECKING:
    from simulation.simulator import Simulator


def check_bulk_actions(simulator: "Simulator") -> None:
    """Each has ended, and counts the jobs that it has moved, no more and no fewer, also after an abort."""
    moved: Counter[str] = Counter()
    for watched in simulator.observer.jobs.values():
        moved.update(entry["by"]["via"] for entry in watched.document["history"] if "by" in entry)
    noted = simulator.store.audit().entries
    for action in simulator.store.bulk_actions().all():
        name = f"bulk:{action.id}"
        if action.state not in (BulkState.DONE, BulkState.ABORTED):
            simulator.broken("bulk", f"{name} is {action.state.value} ({action.failure})")
        aborts = [one for one in noted if one.action == AuditAction.BULK_ABORT and one.target["bulk"] == str(action.id)]
        if action.state is BulkState.ABORTED and (action.abort is None or not aborts):
            simulator.broken("bulk", f"{name} was aborted, and nobody asked for it")
        if action.tally.done != moved[name]:
            simulator.broken("bulk", f"{name} counts {action.tally.done} jobs, and has moved {moved[name]}")
        is_whole = action.state is BulkState.DONE and action.order.choice is None
        if is_whole and action.tally.handled != action.order.id_count:
            simulator.broken("bulk", f"{name} has handled {action.tally.handled} of {action.order.id_count} ids")
