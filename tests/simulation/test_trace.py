"""A seed that fails tells what happened and how to repeat it."""

from acked_common.store.records import Insertion, NewJob
from simulation.fault_plan import KNOBS
from simulation.sim_store import ObservedStore
from simulation.simulator import Result, run
from simulation.trace import needed_faults, report


class Loses(ObservedStore):
    """Confirms every request and keeps none."""

    async def insert(self, jobs: list[NewJob]) -> list[Insertion]:  # type: ignore[override]
        return [Insertion.STORED] * len(jobs)


def test_a_failed_seed_names_rule_seed_and_command() -> None:
    result = run(5, store_class=Loses, is_long=False)
    told = report(result, ["worker killed"])
    assert told.startswith("seed 5 broke I1: submission ")
    assert "./just test simulation --seed 5" in told
    assert "faults that it needs: worker killed" in told
    assert "accepted #" in told


def test_faults_that_a_failure_does_not_need_are_left_out() -> None:
    assert needed_faults("I1", lambda without: run(5, store_class=Loses, without=without, is_long=False)) == set()


def test_only_what_the_failure_needs_stays() -> None:
    def fails_with(without: object) -> Result:
        needs = {"worker killed", "slow"}
        return run(2, store_class=ObservedStore if needs & set(without) else Loses)  # type: ignore[call-overload]

    assert needed_faults("I1", fails_with) == {"worker killed", "slow"}
    assert {"worker killed", "slow"} < set(KNOBS)
