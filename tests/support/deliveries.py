"""A delivery of a callback that may be sent again."""

from typing import Any

from support.access import Client
from support.stacks import TestStack, eventually

WITHIN_S = 60.0


def ended_delivery(client: TestStack | Client) -> tuple[str, str]:
    """Return a job with a callback, and the delivery of its end, which was cancelled."""
    job = client.process("noop", callback={"url": "https://example.com/hook"})
    assert client.call("GET", f"/status/{job}?wait_s=30").body["finished_at"] is not None

    def deliveries() -> list[dict[str, Any]]:
        response = client.call("GET", f"/jobs/{job}/callbacks")
        assert response.status == 200, response.raw
        found: list[dict[str, Any]] = response.body["deliveries"]
        return found

    (delivery,) = eventually(deliveries, within_s=WITHIN_S, what="a delivery")
    response = client.call("POST", f"/jobs/{delivery['id']}/cancel")
    assert response.status in (200, 202), response.raw
    eventually(lambda: deliveries()[0]["finished_at"], within_s=WITHIN_S, what="the delivery has ended")
    return job, str(delivery["id"])
