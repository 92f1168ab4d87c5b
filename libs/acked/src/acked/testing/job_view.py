"""What a test sees of its job."""

from collections.abc import Mapping
from typing import Any

import msgspec

from acked.testing.kit_job import KitJob
from acked_common.model.lifecycle import State
from acked_common.model.lifecycle_waits import Waits


class JobView:
    """A job under test, as its status shows it, and its ledger."""

    def __init__(self, job: KitJob) -> None:
        self._job = job
        self._asked: set[str] = set()

    @property
    def state(self) -> str:
        """The state of the job, as in its status: "waiting" while it is parked."""
        return self._job.state.value

    @property
    def has_ended(self) -> bool:
        """Whether the job has ended."""
        return self._job.state.is_terminal

    @property
    def has_succeeded(self) -> bool:
        """Whether the job has ended with a result."""
        return self._job.state is State.SUCCEEDED

    @property
    def waits(self) -> Waits | None:
        """Why the job is parked: `call`, `name`, `until_at`, `signals`. None while it is not."""
        return self._job.waits

    @property
    def result(self) -> Any:
        """The result of a job that succeeded. Raise `AssertionError` for another one."""
        if self._job.state is not State.SUCCEEDED or self._job.result is None:
            raise AssertionError(f"the job has no result: it is {self.state}{self._why()}")
        return msgspec.json.decode(self._job.result)

    @property
    def error(self) -> Mapping[str, Any] | None:
        """The newest error: `type`, `message` and more. None without one, and once the job succeeded."""
        return self._job.error

    @property
    def steps(self) -> list[str]:
        """The recorded steps in the order in which they ended, as `name` or `name[key]`."""
        entries = () if self._job.ledger.now is None else self._job.ledger.now.entries.values()
        kept = sorted((entry for entry in entries if entry.call == "step" and not entry.is_open), key=lambda e: e.seq)
        return [entry.name if entry.key is None else f"{entry.name}[{entry.key}]" for entry in kept]

    @property
    def unused(self) -> list[str]:
        """The recorded durable calls that the newest attempt did not make, for example because its code changed."""
        entries = () if self._job.ledger.now is None else self._job.ledger.now.entries.values()
        texts = [entry.name if entry.key is None else f"{entry.name}[{entry.key}]" for entry in entries]
        return sorted({text for text in texts if text not in self._asked})

    @property
    def attempts(self) -> int:
        """The number of attempts."""
        return self._job.attempt

    @property
    def failures(self) -> int:
        """The number of attempts that failed or timed out."""
        return self._job.failures

    @property
    def progress(self) -> list[dict[str, Any]]:
        """What the handler reported with `ctx.progress`, as `value` and `message`, oldest first."""
        return self._job.progress

    def _why(self) -> str:
        if self.waits is not None:
            return f", for {self.waits.call} {self.waits.name!r}"
        return "" if self.error is None else f": {self.error['type']}: {self.error['message']}"
