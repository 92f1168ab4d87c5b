"""Customers of `handlers/order.py.example`, and what its steps have done."""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

from support.stacks import Answer, TestStack, eventually

EXAMPLE = Path(__file__).resolve().parents[2] / "handlers" / "order.py.example"
DAY_S = 86_400.0
INSISTS_S = 180.0
LOOKS_EVERY_S = 0.5
"""How often a customer looks at an order."""

_LINES = """

def line(order, what):
    import os, time

    with open({path!r}, "a") as file:
        file.write(f"{{order}}|{{what}}|{{time.time()}}\\n")
        file.flush()
        os.fsync(file.fileno())
"""
_EFFECT = "    await asyncio.sleep(0)\n"
_WHAT = ('line(order, "invoice")', 'line(order, f"mail {text}")', 'line(order, "ship")')
LINE_OF = {
    ("invoice", None): "invoice",
    ("remind", None): "mail please pay",
    ("mail", "cancelled"): "mail cancelled: not paid",
    ("mail", "shipped"): "mail your parcel is on its way",
    ("ship", None): "ship",
    ("check", None): "mail checked",
    ("pack", None): "mail packed",
}
"""The line of a step, by its name and key."""


def example(lines: Path) -> str:
    """Return the source of the example, whose steps have an effect: each appends a line to a file."""
    head, *bodies = EXAMPLE.read_text().split(_EFFECT)
    assert len(bodies) == len(_WHAT), "the example has other steps"
    source = head + "".join(f"    {what}\n{body}" for what, body in zip(_WHAT, bodies, strict=True))
    return source.replace("import asyncio\n", "") + _LINES.format(path=str(lines))


def edited(source: str) -> str:
    """Return the source after an edit: steps write a line more, and there are two new steps."""
    return _replaced(
        source,
        {
            '    line(order, "ship")\n': '    line(order, "ship")\n    line(order, "label")\n',
            "    # An order may have": '    await ctx.step("check", mail, number, "checked")\n    # An order may have',
            '    parcel = await ctx.step("ship"': '    await ctx.step("pack", mail, number, "packed")\n'
            '    parcel = await ctx.step("ship"',
        },
    )


def _replaced(source: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    return source


def terms(remind_after_s: float, paid_within_s: float = 3600.0) -> dict[str, float]:
    """Return the terms of an order as its payload has them."""
    return {"remind_after_days": remind_after_s / DAY_S, "paid_within_days": paid_within_s / DAY_S}


class Orders:
    """The orders of a test: requests that are repeated until they are confirmed, and what was seen of their steps."""

    def __init__(self, stack: TestStack, lines: Path) -> None:
        self._stack = stack
        self._lines = lines
        self._seen: dict[tuple[str, str], float] = {}
        self.ids: dict[str, str] = {}

    def submit(self, number: str, **fields: float) -> str:
        """Order something; return the id of the job."""
        body = {"kind": "order", "payload": {"order": number, "amount": 40, **fields}}
        answer = self._insist("POST", "/process", body, key=f"order-{number}", to="intake")
        assert answer.status == 202, answer.raw
        self.ids[number] = str(answer.body["id"])
        return self.ids[number]

    def pay(self, number: str, value: int) -> None:
        """Pay an order."""
        path = f"/jobs/{self.ids[number]}/signals/paid"
        answer = self._insist("POST", path, value, key=f"paid-{number}")
        assert answer.status in (200, 202), answer.raw

    def status(self, number: str) -> Any:
        """Return the status of an order, and note which of its steps are kept."""
        self.look(number)
        answer = self._insist("GET", f"/status/{self.ids[number]}")
        assert answer.status == 200, answer.raw
        return answer.body

    def look(self, number: str) -> None:
        """Note when the steps of an order were seen to be kept."""
        answer = self._insist("GET", f"/jobs/{self.ids[number]}/steps")
        at = time.time()
        assert answer.status in (200, 404), answer.raw
        for step in answer.body["steps"] if answer.status == 200 else ():
            if step["call"] == "step" and step["state"] == "kept":
                self._seen.setdefault((number, LINE_OF[step["name"], step["key"]]), at)

    def waits(self, number: str, name: str) -> None:
        """Return when an order is parked in a wait."""
        eventually(lambda: self._is_parked(number, name), within_s=INSISTS_S, what=f"order {number} waits for {name}")

    def ended(self, number: str) -> Any:
        """Return the status of an order that has ended."""
        return eventually(lambda: self._ended(number), within_s=INSISTS_S, what=f"order {number} has ended")

    def result(self, number: str, paid: int) -> dict[str, Any]:
        """Return the result that an order must have, whatever has happened."""
        key = f"{self.ids[number]}:invoice"
        return {"invoice": f"invoice of {number} over 40, key {key}", "paid": paid, "parcel": f"parcel of {number}"}

    def lines(self, number: str) -> Counter[str]:
        """Return how often each step of an order had its effect."""
        return Counter(what for order, what, _ in self._read() if order == number)

    def late(self) -> list[str]:
        """Return the effects of steps that happened after the step was seen to be kept."""
        return [
            f"order {order}: {what!r} at {at:.3f}, seen as kept at {self._seen[order, what]:.3f}"
            for order, what, at in self._read()
            if at > self._seen.get((order, what), float("inf"))
        ]

    @property
    def seen(self) -> int:
        """The number of steps that were seen to be kept."""
        return len(self._seen)

    def _read(self) -> list[tuple[str, str, float]]:
        found = [line.rsplit("|", 2) for line in self._lines.read_text().splitlines()]
        return [(order, what, float(at)) for order, what, at in found]

    def _is_parked(self, number: str, name: str) -> bool:
        status = self.status(number)
        return bool(status["state"] == "waiting" and status["waits"]["name"] == name)

    def _ended(self, number: str) -> Any:
        status = self.status(number)
        return status if status["finished_at"] is not None else None

    def _insist(self, method: str, path: str, body: Any = None, *, key: str = "", to: str = "gateway") -> Answer:
        def answered() -> Answer | None:
            headers = {"Idempotency-Key": key} if key else {}
            try:
                answer = self._stack.call(method, path, body, to=to, headers=headers, timeout_s=10.0)
            except HTTPException as error:
                # The process died in the middle of its response.
                raise OSError(error) from error
            return None if answer.status in (429, 503) else answer

        found: Answer = eventually(answered, within_s=INSISTS_S, what=f"{method} {path} is confirmed")
        return found


class Customer(threading.Thread):
    """Orders, pays and looks again and again, until the order has ended."""

    def __init__(self, orders: Orders, number: int) -> None:
        super().__init__(name=f"customer {number}", daemon=True)
        self._orders = orders
        self.order = str(number)
        self.paid = 10 * number
        self.is_reminded = number % 2 == 1
        """Pays after the reminder; others pay at once, or once the order waits."""
        self._is_patient = number % 4 == 2
        self._over = threading.Event()
        self.status: Any = None
        self.failed: BaseException | None = None

    def run(self) -> None:
        """Do so; keep what went wrong."""
        try:
            self._run()
        except BaseException as error:
            self.failed = error

    def _run(self) -> None:
        orders, is_paid = self._orders, False
        # A wait of more than ten seconds parks.
        orders.submit(self.order, **terms(11.0 if self.is_reminded else 3600.0))
        while self.status is None or self.status["finished_at"] is None:
            self.status = orders.status(self.order)
            if not is_paid and self._pays(self.status):
                orders.pay(self.order, self.paid)
                is_paid = True
            self._over.wait(LOOKS_EVERY_S)

    def _pays(self, status: Any) -> bool:
        name = (status.get("waits") or {}).get("name")
        if self.is_reminded:
            return bool(name == "payment-or-end")
        return not self._is_patient or name is not None

    def expected_lines(self) -> set[str]:
        """Return the effects of its order."""
        return {"invoice", "ship", "mail your parcel is on its way", *(["mail please pay"] if self.is_reminded else [])}
