"""How many jobs may wait: beyond it nothing is stored, and as soon as there is room requests are accepted again."""

from support.contract import assert_problem
from support.stacks import TestStack, eventually

MOST = 20
ENVIRON = {"ACKED_MAX_WAITING_JOBS": str(MOST)}


def test_beyond_the_quota_requests_wait_for_room(stack: TestStack) -> None:
    # The first count may be under way: what it misses, this intake has admitted itself.
    waiting = [stack.process("noop", delay_s=3600, batch="waits") for _ in range(MOST)]
    refused = stack.call("POST", "/process", {"kind": "noop"}, to="intake")
    assert_problem(stack, refused, 503, "quota-exceeded", says=f"{MOST} may")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert stack.batch("waits") == {"scheduled": MOST}
    for job_id in waiting[:5]:
        assert stack.call("POST", f"/jobs/{job_id}/cancel").status == 200

    def accepted() -> bool:
        return stack.call("POST", "/process", {"kind": "noop"}, to="intake").status == 202

    eventually(accepted, within_s=20, what="there is room again")
    # What runs or has ended does not wait.
    eventually(
        lambda: stack.batch("waits") == {"scheduled": MOST - 5, "cancelled": 5}, within_s=5, what="only those left"
    )
