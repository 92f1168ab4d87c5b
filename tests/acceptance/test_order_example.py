"""The order that ships as an example, through stops, kills and edits of its code: its result is always the same."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acked_common.model.lifecycle import Reason, State
from deploy.native import environment
from support.orders import Customer, Orders, edited, example, terms
from support.stacks import TestStack, eventually, running_stack

KILL_EVERY_S = 3.0
ORDER_EVERY_S = 1.5
ENDS_AFTER_S = 20.0
"""A wait of more than ten seconds parks."""
LOST = (Reason.LEASE_EXPIRED, Reason.DRAINED, Reason.CRASHED)
POINT = "worker.step-recorded"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of handlers, with the example."""
    made: Path = tmp_path_factory.mktemp("handlers")
    (made / "order.py").write_text(example(made / "lines"))
    return made


@pytest.fixture(scope="module")
def stack(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    told = {"ACKED_HANDLERS_DIR": str(folder), "ACKED_DRAIN_S": "2"}
    with running_stack(tmp_path_factory.mktemp("stack"), environ=told) as started:
        yield started


@pytest.fixture
def orders(stack: TestStack, folder: Path) -> Orders:
    return Orders(stack, folder / "lines")


def check_result(orders: Orders, number: str, paid: int, lines: set[str]) -> Any:
    """Expect the result of an order that was paid, and each of its effects."""
    status = orders.ended(number)
    assert (status["state"], status["result"]) == (State.SUCCEEDED, orders.result(number, paid)), status
    found = orders.lines(number)
    assert set(found) == lines
    lost = sum(entry["reason"] in LOST for entry in status["history"])
    assert max(found.values()) <= 1 + lost
    return status


@pytest.mark.long
def test_orders_survive_a_down_in_each_of_their_waits(stack: TestStack, orders: Orders) -> None:
    long = terms(remind_after_s=3600.0)
    reminded = terms(remind_after_s=0.2)
    orders.submit("first-paid", **long)
    orders.submit("second-paid", **reminded)
    # These waits end by themselves, during the down or behind it.
    orders.submit("first-ends", **terms(remind_after_s=ENDS_AFTER_S))
    orders.submit("second-ends", **terms(remind_after_s=0.2, paid_within_s=ENDS_AFTER_S))
    for number in ("first-ends", "first-paid"):
        orders.waits(number, "payment-or-reminder")
    for number in ("second-ends", "second-paid"):
        orders.waits(number, "payment-or-end")

    stack.stack.down()
    stack.stack.up()

    for number, paid in (("first-paid", 1), ("second-paid", 2)):
        orders.pay(number, paid)
    orders.waits("first-ends", "payment-or-end")
    orders.pay("first-ends", 3)
    all_lines = {"invoice", "mail please pay", "ship", "mail your parcel is on its way"}
    check_result(orders, "first-paid", 1, all_lines - {"mail please pay"})
    check_result(orders, "second-paid", 2, all_lines)
    check_result(orders, "first-ends", 3, all_lines)
    status = orders.ended("second-ends")
    assert (status["state"], status["error"]["type"]) == (State.FAILED, "unpaid")
    assert orders.lines("second-ends") == dict.fromkeys(("invoice", "mail please pay", "mail cancelled: not paid"), 1)
    assert orders.late() == [] and orders.seen >= 14


@pytest.mark.long
@pytest.mark.parametrize("lasts_s", [20.0, 120.0])
def test_orders_survive_kills_of_each_part_in_turn(stack: TestStack, orders: Orders, lasts_s: float) -> None:
    numbers = itertools.count(int(lasts_s) * 1000)
    customers: list[Customer] = []
    # A worker is killed in every round.
    parts = itertools.cycle(["worker-1", "gateway-1", "mongod", "worker-1", "intake-1", "rabbitmq", "epmd"])
    started = time.monotonic()
    kill_at = order_at = started
    killed = 0
    while (now := time.monotonic()) < started + lasts_s:
        if now >= order_at:
            customers.append(Customer(orders, next(numbers)))
            customers[-1].start()
            order_at += ORDER_EVERY_S
        if now >= kill_at:
            killed += bool(stack.stack.parts.kill(next(parts)))
            kill_at += KILL_EVERY_S
        time.sleep(max(0.0, min(order_at, kill_at) - time.monotonic()))
    for customer in customers:
        customer.join(timeout=180.0)
        assert not customer.is_alive(), f"order {customer.order} has not ended: {customer.status}"
        assert customer.failed is None, customer.failed
    assert killed >= lasts_s / KILL_EVERY_S / 2 and len(customers) >= lasts_s / ORDER_EVERY_S / 2
    for customer in customers:
        check_result(orders, customer.order, customer.paid, customer.expected_lines())
    assert orders.late() == [] and orders.seen >= 3 * len(customers)


@pytest.mark.parametrize(
    "nth",
    [
        # Behind the invoice, the begin of the first wait, its end, the reminder, the begin of the second wait, its end,
        # the parcel, and the last mail.
        *(pytest.param(nth, marks=pytest.mark.long) for nth in (1, 2, 3, 5, 6, 8)),
        4,
        7,
    ],
)
def test_an_order_survives_an_edit_of_its_code_behind_each_call(
    stack: TestStack, orders: Orders, folder: Path, nth: int
) -> None:
    source, log = folder / "order.py", stack.stack.layout.logs / "worker-1.log"
    before = example(folder / "lines")
    source.write_text(before)
    armed, died = _counts(log)
    environment.keep_for(stack.stack.layout, "worker-1", {"ACKED_CRASH": f"{POINT}:{nth}:kill"})
    stack.stack.parts.kill("worker-1")
    eventually(lambda: _counts(log)[0] > armed, within_s=60, what="it is armed")
    environment.keep_for(stack.stack.layout, "worker-1", {})
    eventually(
        lambda: stack.stack.parts.readiness("worker-1") in ("ready", "degraded"), within_s=60, what="it is ready"
    )
    # The worker has the code of before in its memory.
    source.write_text(edited(before))
    number = f"edited-{nth}"

    orders.submit(number, **terms(remind_after_s=0.2))
    orders.waits(number, "payment-or-end")
    orders.pay(number, 5)

    lines = {"invoice", "mail please pay", "ship", "mail your parcel is on its way", "mail checked", "mail packed"}
    status = orders.ended(number)
    assert (status["state"], status["result"]) == (State.SUCCEEDED, orders.result(number, 5)), status
    assert _counts(log)[1] == died + 1, "the worker died at the call"
    found = orders.lines(number)
    if nth < 7:
        lines |= {"label"}
    # The label belongs to the parcel, which is not sent again.
    assert found == dict.fromkeys(lines, 1)
    assert orders.late() == []


def _counts(log: Path) -> tuple[int, int]:
    """How often the worker was armed, and how often it died at the point."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if f'"point": "{POINT}"' in line]
    return sum("ARMED" in line for line in lines), sum('"event": "failpoint"' in line for line in lines)
