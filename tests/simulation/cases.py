"""Seeds that have failed once, and what they found. They run each time, whatever else is drawn.

A seed names a run of one version of the simulation: where the simulation has changed since, it is one more seed, and
the test that is named beside it still shows the fault.
"""

FOUND = {
    96: "a retry of a gateway that had read no kinds yet put the job on a lane that nobody consumes; "
    "test_bundle_publisher: before the kinds were read nothing goes on a lane that may be wrong",
    135: "the sweeper of a fresh process republished on such a lane; ServiceCore waits for the kinds",
    174: "the sweeper of a process that had not measured its clock yet ended a job before its time; test_store_monitor",
    813: "two sweepers that queue a job in the same millisecond both publish it: harmless, and the bound allows it",
    2250: "an attempt whose time was up before its handler began, after a pause, counted as a failure; "
    "test_executor_timeouts: an attempt whose time was up before its first step has not failed",
}
