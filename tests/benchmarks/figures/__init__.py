"""The figures, one module each: `measure(bench)` gives a `FigureResult`. In the order in which a run takes them."""

from collections.abc import Callable, Mapping

from benchmarks.bench import Bench
from benchmarks.figures import (
    accept,
    clients,
    distance,
    drain,
    feed,
    growth,
    lanes,
    load_test,
    many,
    per_job,
    signals,
    sleepers,
    start,
    steps,
)
from benchmarks.report import FigureResult

ALL: Mapping[str, Callable[[Bench], FigureResult]] = {
    **{
        module.NAME: module.measure
        for module in (
            accept,
            drain,
            start,
            distance,
            per_job,
            load_test,
            lanes,
            many,
            steps,
            signals,
            sleepers,
            feed,
            growth,
        )
    },
    growth.MEMORY_NAME: growth.measure_memory,
    clients.NAME: clients.measure,
}
