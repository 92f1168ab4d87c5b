"""Define what beat did: `python schedules.py`, once after each deployment. A second run changes nothing."""

import os

import httpx2

GATEWAY = os.environ.get("GATEWAY", "http://localhost:8080")
SCHEDULES = {"shop.heartbeat": {"kind": "shop.heartbeat", "every_s": 1}}


def main() -> None:
    """Send each schedule to the gateway."""
    token = os.environ.get("ACKED_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    for name, definition in SCHEDULES.items():
        httpx2.put(f"{GATEWAY}/schedules/{name}", json=definition, headers=headers).raise_for_status()


if __name__ == "__main__":
    main()
