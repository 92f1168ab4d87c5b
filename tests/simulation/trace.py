"""Shows what happened to the job that broke a rule: its own events, and what befell processes and servers."""

from collections.abc import Callable, Collection

from simulation.fault_plan import KNOBS
from simulation.simulator import Result

MOST_LINES = 60


def job_trace(result: Result, most: int = MOST_LINES) -> str:
    """The last events of the job of the first violation, with those of processes and servers in between."""
    first = result.violations[0]
    numbers = {job_id: n for n, job_id in enumerate(dict.fromkeys(i for *_, ids in result.trace for i in ids))}
    lines = []
    for at_s, who, what, ids in result.trace:
        if first.job_id is None or first.job_id in ids or not ids:
            jobs = "".join(f" #{numbers[job_id]}" for job_id in ids)
            lines.append(f"{at_s:9.3f}  {who:<10} {what}{jobs}")
    left_out = len(lines) - most
    head = [f"… {left_out} lines before"] if left_out > 0 else []
    return "\n".join(head + lines[-most:])


def report(result: Result, needed: Collection[str] | None = None) -> str:
    """What a person needs to find the fault behind a seed that failed."""
    first = result.violations[0]
    job = f" (job {first.job_id})" if first.job_id else ""
    faults = f"\nfaults that it needs: {', '.join(sorted(needed)) or 'none'}" if needed is not None else ""
    return (
        f"seed {result.seed} broke {first.rule}: {first.text}{job}{faults}\n"
        f"repeat it: ./just test simulation --seed {result.seed}\n\n{job_trace(result)}"
    )


def needed_faults(rule: str, run: Callable[[Collection[str]], Result]) -> set[str]:
    """The faults without which the rule is not broken any more; `run` runs the seed without the given ones."""
    left_out: set[str] = set()
    for knob in KNOBS:
        tried = run({*left_out, knob})
        if tried.violations and tried.violations[0].rule == rule:
            left_out.add(knob)
    return set(KNOBS) - left_out
