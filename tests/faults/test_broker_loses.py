"""RabbitMQ loses what it held, or takes nothing more: every job still runs once, and no flood of bundles comes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pika
import pytest

from acked_common.broker.rabbitmq.topology import COMMANDS_EXCHANGE, lane_queue
from acked_common.model.lifecycle import State
from support.rabbitmqctl import rabbitmqctl
from support.stacks import TestStack, eventually, running_stack
from support.submitted import all_ended, endings, submit

JOBS = 1600
MEANWHILE = 320
ANSWERED_WITHIN_S = 2.0
SWEEPING = ("intake-1", "gateway-1", "gateway-2")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    with running_stack(
        tmp_path_factory.mktemp("stack"),
        scale={"worker": 2, "gateway": 2},
        environ={"ACKED_WORKER_SLOTS": "100"},
    ) as running:
        yield running


@contextmanager
def broker_channel(stack: TestStack) -> Iterator["pika.adapters.blocking_connection.BlockingChannel"]:
    connection = pika.BlockingConnection(pika.URLParameters(stack.stack.urls["amqp"]))
    try:
        yield connection.channel()
    finally:
        connection.close()


def republished(stack: TestStack) -> float:
    return sum(stack.metric("acked_swept_total", '{reason="republished"}', to=part) for part in SWEEPING)


def published(stack: TestStack) -> float:
    """Jobs in confirmed bundles, republications included."""
    return sum(stack.metric("acked_jobs_published_total", to=part) for part in SWEEPING)


def ends_once(stack: TestStack, batch: str, ids: list[str], within_s: float = 120) -> None:
    eventually(lambda: all_ended(stack, batch, len(ids)), within_s=within_s, what=f"all of {batch} have ended")
    assert endings(stack, ids) == {(State.SUCCEEDED.value, 1): len(ids)}
    # Queued, claimed, ended: each ran once.
    assert {stack.status(job_id)["attempt"] for job_id in ids[::10]} == {1}


def waiting_backlog(stack: TestStack, batch: str) -> list[str]:
    """Jobs of which many wait in the broker while others run."""
    ids = submit(stack, JOBS, batch, seconds=3.0)
    assert stack.batch(batch).get(State.QUEUED, 0) >= 500, stack.batch(batch)
    return ids


@pytest.mark.parametrize("how", ["purged", pytest.param("deleted", marks=pytest.mark.long)])
def test_a_queue_that_lost_its_bundles_is_filled_again(stack: TestStack, how: str) -> None:
    batch, before = f"queue-{how}", republished(stack)
    ids = waiting_backlog(stack, batch)
    with broker_channel(stack) as channel:
        if how == "purged":
            channel.queue_purge(lane_queue("demo"))
        else:
            channel.queue_delete(lane_queue("demo"))
    lost = stack.batch(batch).get(State.QUEUED, 0)
    assert lost > 0
    ids += submit(stack, MEANWHILE, batch, seconds=0.05)
    ends_once(stack, batch, ids)
    # Three sweepers saw them, each job was published again once at most.
    assert 0 < republished(stack) - before <= lost + MEANWHILE


@pytest.mark.long
def test_a_queue_that_somebody_else_made_is_told_and_hurts_no_longer_than_it_is_there(stack: TestStack) -> None:
    batch = "queue-foreign"
    ids = waiting_backlog(stack, batch)
    name = lane_queue("demo")

    def is_foreign() -> bool:
        with broker_channel(stack) as channel:
            channel.queue_delete(name)
            try:
                channel.queue_declare(name, durable=True)
            except pika.exceptions.ChannelClosedByBroker:
                # A worker was quicker.
                return False
            return True

    eventually(is_foreign, within_s=30, what="the queue is not ours")
    eventually(
        lambda: stack.stack.parts.readiness("worker-1") not in ("ready", "degraded"),
        within_s=30,
        what="the worker says so",
    )
    ids += submit(stack, MEANWHILE, batch, seconds=0.05)
    noops = stack.process("noop")
    assert stack.finished(noops)["state"] == State.SUCCEEDED, "other lanes go on"
    with broker_channel(stack) as channel:
        channel.queue_delete(name)
    ends_once(stack, batch, ids)


def test_commands_arrive_without_their_exchange(stack: TestStack) -> None:
    with broker_channel(stack) as channel:
        channel.exchange_delete(COMMANDS_EXCHANGE)
    ids = [stack.process("demo", payload={"seconds": 60}) for _ in range(20)]
    for job_id in ids:
        eventually(lambda job_id=job_id: stack.status(job_id)["attempt"] == 1, within_s=30, what="it runs")
    for job_id in ids:
        assert stack.call("POST", f"/jobs/{job_id}/cancel").status == 200
    for job_id in ids:
        assert stack.finished(job_id)["state"] == State.CANCELLED


ALARMS = {
    "memory": (("set_vm_memory_high_watermark", "0.0001"), ("set_vm_memory_high_watermark", "0.4")),
    "disk": (("set_disk_free_limit", "100000GB"), ("set_disk_free_limit", "50MB")),
}


@pytest.mark.parametrize("alarm", ["disk", pytest.param("memory", marks=pytest.mark.long)])
def test_a_broker_that_takes_nothing_costs_time_and_nothing_else(stack: TestStack, alarm: str) -> None:
    batch, meanwhile = f"before-{alarm}", f"while-{alarm}"
    raise_it, clear_it = ALARMS[alarm]
    ids = waiting_backlog(stack, batch)
    before = published(stack)
    rabbitmqctl(stack.stack.layout, *raise_it)
    try:
        started = time.monotonic()
        later = submit(stack, MEANWHILE, meanwhile, seconds=0.05)
        assert time.monotonic() - started < MEANWHILE * ANSWERED_WITHIN_S / 16
        eventually(
            lambda: stack.call("GET", "/readyz", to="intake").body["status"] == "degraded",
            within_s=30,
            what="intake says that the broker takes nothing",
        )
        # What the broker holds already is consumed, run and acknowledged as ever.
        ends_once(stack, batch, ids)
        assert stack.batch(meanwhile).get(State.QUEUED, 0) > 0
    finally:
        rabbitmqctl(stack.stack.layout, *clear_it)
    ends_once(stack, meanwhile, later)
    eventually(
        lambda: stack.call("GET", "/readyz", to="intake").body["status"] == "ready", within_s=30, what="it is ready"
    )
    # What was under way when it began, and what bundle publisher and sweeper both have published: no flood.
    assert published(stack) - before <= 3 * MEANWHILE
