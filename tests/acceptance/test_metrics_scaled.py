"""What Prometheus sees of a stack of several processes: each is a target, no counter falls, and sums are the truth."""

import json
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from deploy.native.ports import free_port_base
from deploy.observed import observed
from support.documented_metrics import SERVICES, rows
from support.promtool import program, promtool
from support.scrapes import Watch, addresses, all_answer, exposition, targets, total
from support.stacks import TestStack, eventually, running_stack

pytestmark = pytest.mark.long

SCALE = {"gateway": 3, "intake": 3, "worker": 4}
ROUNDS = 20
BETWEEN_ROUNDS_S = 0.2
KIND = "noop"
SCRAPED_WITHIN_S = 40.0
"""Prometheus first scrapes a target at any moment of an interval of 15 s."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as started:
        for service, processes in SCALE.items():
            started.stack.scale({service: processes})
        yield started


class Client:
    """Sends requests until `stop`, and counts the accepted ones."""

    def __init__(self, stack: TestStack) -> None:
        self.accepted = 0
        self._stack = stack
        self._nonce = token_hex(6)
        self._stop = threading.Event()
        self._failed: list[BaseException] = []

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send inside this context; every request must be accepted."""
        self._stop.clear()
        thread = threading.Thread(target=self._send)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
        assert self._failed == []

    def _send(self) -> None:
        try:
            while not self._stop.is_set():
                self._stack.process(KIND, payload={"nonce": self._nonce})
                self.accepted += 1
        except BaseException as error:
            self._failed.append(error)


@pytest.fixture(scope="module")
def client(stack: TestStack) -> Client:
    return Client(stack)


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


def scrape_while(stack: TestStack, watch: Watch, *scales: dict[str, int]) -> None:
    """Scrape `ROUNDS` times at least, and until the stack has been scaled so, one step after the other."""
    done, failed = threading.Event(), list[BaseException]()

    def scale() -> None:
        try:
            for wanted in scales:
                stack.stack.scale(wanted)
        except BaseException as error:
            failed.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=scale)
    thread.start()
    until = watch.rounds + ROUNDS
    while watch.rounds < until or not done.is_set():
        watch.scrape(stack)
        done.wait(BETWEEN_ROUNDS_S)
    thread.join()
    assert failed == []


def test_each_process_is_a_target(stack: TestStack) -> None:
    expected = sorted(f"{service}-{number}" for service, count in SCALE.items() for number in range(1, count + 1))
    assert sorted(addresses(stack).values()) == expected
    assert len(addresses(stack)) == len(expected), "each has an address of its own"
    assert all(group["labels"]["process"].startswith(group["labels"]["service"]) for group in targets(stack))
    assert all_answer(stack)


def test_sums_over_all_targets_are_the_truth(stack: TestStack, client: Client, watch: Watch) -> None:
    with client.sending():
        # Nothing is removed meanwhile.
        scrape_while(stack, watch, {"worker": SCALE["worker"] + 1})
    assert client.accepted > ROUNDS
    found = watch.scrape(stack)
    assert total(found, "acked_jobs_accepted_total", kind=KIND) == client.accepted
    assert total(found, "acked_accept_duration_seconds_count") == client.accepted
    for name in ("requests_total", "request_duration_seconds_count"):
        assert total(found, f"acked_http_{name}", route="/process", status="202") == client.accepted

    def ended() -> bool:
        found[:] = watch.scrape(stack)
        return total(found, "acked_jobs_ended_total", kind=KIND) == client.accepted

    eventually(ended, within_s=30, what="all jobs end")
    assert total(found, "acked_jobs_ended_total", kind=KIND, state="succeeded", reason="completed") == client.accepted
    assert total(found, "acked_attempts_total", kind=KIND, outcome="succeeded") == client.accepted
    for name in ("acked_job_wait_seconds", "acked_attempt_duration_seconds"):
        assert total(found, f"{name}_count", kind=KIND) == client.accepted
        assert 0 < total(found, f"{name}_sum", kind=KIND) < 30 * client.accepted
    assert watch.fallen == []


def test_gauges_tell_the_workers_and_the_servers(stack: TestStack, watch: Watch) -> None:
    def counted() -> bool:
        found = [total([one], "acked_workers", kind=KIND) for one in watch.scrape(stack)]
        return [one for one in found if one] == [SCALE["worker"] + 1] * SCALE["gateway"]

    eventually(counted, within_s=15, what="every gateway counts the workers")
    found = watch.scrape(stack)
    up = [total([one], "acked_dependency_up", name=name) for name in ("mongodb", "rabbitmq") for one in found]
    assert up == [1.0] * 2 * len(found)
    assert total(found, "acked_build_info") == len(found)
    slots = [total([one], "acked_slots", kind=KIND) for one in found]
    assert sorted(slots)[-SCALE["worker"] :] == [200.0] * SCALE["worker"]


def test_no_counter_falls_while_services_are_scaled_under_load(stack: TestStack, client: Client, watch: Watch) -> None:
    with client.sending():
        scrape_while(stack, watch, {"gateway": 2, "intake": 1, "worker": 2}, {"intake": 2})
    assert watch.fallen == []
    assert watch.rounds >= 2 * ROUNDS
    assert sorted(addresses(stack).values()) == [
        *("gateway-1", "gateway-2", "intake-1", "intake-2", "worker-1", "worker-2"),
    ]
    assert all_answer(stack)


def test_a_process_that_was_brought_back_is_a_target_again(stack: TestStack) -> None:
    before = addresses(stack)
    stack.stack.parts.kill("intake-1")

    def is_back() -> bool:
        found = addresses(stack)
        new = found.keys() - before.keys()
        return [found[address] for address in new] == ["intake-1"] and len(found) == len(before)

    eventually(is_back, within_s=20, what="the new process is a target")
    eventually(lambda: all_answer(stack), within_s=10, what="it responds")


def test_exposed_names_are_those_of_the_document(stack: TestStack, watch: Watch) -> None:
    watch.scrape(stack)
    documented = {service: {one.name for one, by in rows() if service in by} for service in SERVICES}
    assert watch.names == documented


@pytest.mark.parametrize("service", SERVICES)
def test_promtool_finds_nothing_to_complain_about(stack: TestStack, service: str) -> None:
    address = next(one["targets"][0] for one in targets(stack) if one["labels"]["service"] == service)
    text = exposition(address)
    assert "_created" not in text
    assert promtool("check", "metrics", given=text) == (0, "")


@contextmanager
def prometheus(stack: TestStack, folder: Path) -> Iterator[str]:
    """Run Prometheus with the shipped configuration; its host and port."""
    address = f"127.0.0.1:{free_port_base()}"
    command = [
        str(program("prometheus")),
        f"--config.file={observed(stack.stack.layout.state) / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as running:
        try:
            yield address
        finally:
            running.terminate()


def asked(url: str, path: str, **query: str) -> Any:
    """Return the data of a response of Prometheus."""
    address = f"http://{url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(address, timeout=10) as response:
        return json.load(response)["data"]


def test_prometheus_scrapes_every_process_and_loads_the_rules(stack: TestStack, watch: Watch, tmp_path: Path) -> None:
    found = watch.scrape(stack)
    with prometheus(stack, tmp_path) as url:

        def value(query: str) -> float:
            result = asked(url, "query", query=query)["result"]
            return float(result[0]["value"][1]) if result else 0.0

        def are_up() -> bool:
            return value('count(up{job="acked"} == 1)') == len(found)

        eventually(are_up, within_s=SCRAPED_WITHIN_S, what="every target is scraped")
        assert value("sum(acked_jobs_accepted_total)") == total(found, "acked_jobs_accepted_total")
        assert value("sum by (service) (count by (service, process) (up))") > 0
        rules = [rule for group in asked(url, "rules")["groups"] for rule in group["rules"]]
        assert len(rules) == 7
        eventually(
            lambda: {one["health"] for group in asked(url, "rules")["groups"] for one in group["rules"]} == {"ok"},
            within_s=SCRAPED_WITHIN_S,
            what="every rule is evaluated",
        )


def test_the_oldest_waiting_job_is_known_within_two_seconds(stack: TestStack, watch: Watch) -> None:
    name = "acked_oldest_waiting_seconds"
    assert name in watch.names["gateway"]
    stack.stack.scale({"worker": 0})
    response = stack.call("POST", "/process", {"kind": KIND}, to="intake")
    accepted_at = datetime.fromisoformat(response.body["accepted_at"])

    def is_true() -> bool:
        waits_s = (datetime.now(UTC) - accepted_at).total_seconds()
        told = [total([one], name, kind=KIND) for one in watch.scrape(stack)]
        gateways = [one for one in told if one]
        return waits_s > 6 and bool(gateways) and all(abs(one - waits_s) <= 2 for one in gateways)

    eventually(is_true, within_s=30, what="each gateway knows how long the job has waited")
