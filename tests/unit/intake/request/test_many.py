"""Many requests as the lines of one."""

import asyncio
import json
import time
from typing import Any

import pytest

from acked_common.api.routes import LINES
from acked_common.http.rate_limit import RateLimit
from acked_common.http.request_rate import RequestRate
from acked_common.model.ids import parse_id
from acked_common.model.principal import SCOPE_KEY, Permission, Principal
from acked_intake.request import lines, many
from acked_intake.settings import Quotas
from support.asgi import Answer, Application, call
from support.intake import MAX_BODY_BYTES, IntakeBench

SUBMITTER = Principal("acme", "c", frozenset({Permission.SUBMIT}))


def line(key: str, kind: str = "demo", **fields: Any) -> bytes:
    return json.dumps({"idempotency_key": key, "kind": kind, **fields}).encode() + b"\n"


async def post(app: Application, *chunks: bytes, **headers: str) -> Answer:
    kept = {name.replace("_", "-"): value for name, value in headers.items()}
    return await call(app, "POST", "/process", *chunks, headers={"content-type": LINES, **kept})


def outcomes(answer: Answer) -> list[dict[str, Any]]:
    assert (answer.status, answer.headers["content-type"]) == (200, LINES), answer.body
    assert answer.body.endswith(b"\n")
    return [json.loads(text) for text in answer.body.splitlines()]


async def stored(bench: IntakeBench) -> int:
    return await bench.store.count_waiting(at_most=20_000)


async def test_each_line_has_its_outcome_in_order(bench: IntakeBench) -> None:
    body = line("a", payload={"n": 1}) + b"\n" + line("b", kind="none") + b"{\n" + line("c", delay_s=5)
    first, unknown, broken, delayed = outcomes(await post(bench.endpoint, body))
    kept = await bench.store.get(parse_id(first["id"]) or pytest.fail("no id"))
    assert kept is not None and (kept.kind, kept.payload) == ("demo", b'{"n": 1}')
    single = (await bench.post({"kind": "demo"})).json
    assert first.keys() - single.keys() == {"line", "status", "idempotency_key"}
    assert first.keys() > single.keys() and first["links"]["feed"] == single["links"]["feed"]
    assert (first["line"], first["status"], first["idempotency_key"]) == (1, 202, "a")
    assert (unknown["line"], unknown["status"], unknown["problem"]["type"]) == (3, 422, "/problems/unknown-kind")
    assert (broken["line"], broken["problem"]["type"]) == (4, "/problems/bad-json")
    assert (delayed["line"], delayed["state"]) == (5, "scheduled")


async def test_a_line_and_a_single_request_with_its_key_are_one_job(bench: IntakeBench) -> None:
    single = (await bench.post({"kind": "demo", "payload": [1]}, idempotency_key='"x"')).json
    again, other = outcomes(await post(bench.endpoint, line("x", payload=[1]) + line("x", payload=[2])))
    assert (again["id"], again["replayed"]) == (single["id"], True)
    assert (other["status"], other["problem"]["type"]) == (422, "/problems/idempotency-key-reused")
    assert await stored(bench) == 1


async def test_one_key_twice_in_a_request_is_one_job(bench: IntakeBench) -> None:
    first, second = outcomes(await post(bench.endpoint, line("x") * 2))
    assert first["id"] == second["id"]
    assert await stored(bench) == 1


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        (b'{"kind":"demo"}', "/idempotency_key"),
        (b'{"kind":"demo","idempotency_key":null}', "/idempotency_key"),
        (b'{"kind":"demo","idempotency_key":""}', "/idempotency_key"),
        (b'{"kind":"demo","idempotency_key":"a b"}', "/idempotency_key"),
        (b'{"idempotency_key":"a"}', "/kind"),
        (b'{"kind":"demo","idempotency_key":"a","payloda":1}', "/payloda"),
        (b"[]", ""),
    ],
)
async def test_a_line_that_is_no_request_says_where(bench: IntakeBench, text: bytes, pointer: str) -> None:
    (found,) = outcomes(await post(bench.endpoint, text))
    assert found["status"] == found["problem"]["status"] == 422
    assert found["problem"]["errors"][0]["pointer"] == pointer
    assert await stored(bench) == 0


async def test_a_line_with_many_faults_names_some(bench: IntakeBench) -> None:
    (found,) = outcomes(await post(bench.endpoint, line("a", **{f"x{n}": n for n in range(50)})))
    assert len(found["problem"]["errors"]) == many.MOST_ERRORS
    assert "50 fields" in found["problem"]["detail"]


async def test_lines_that_are_too_long_are_refused_alone(bench: IntakeBench) -> None:
    body = line("a", payload="x" * MAX_BODY_BYTES) + line("b") + b" " * 3 * MAX_BODY_BYTES + b"\n"
    long, good, blank = outcomes(await post(bench.endpoint, body))
    assert (long["status"], good["status"], blank["line"], blank["status"]) == (413, 202, 3, 413)


async def test_lines_beyond_the_most_are_not_read(bench: IntakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINES", 3)
    found = outcomes(await post(bench.endpoint, *(line(str(n)) for n in range(9))))
    assert [(each["line"], each["status"]) for each in found] == [(1, 202), (2, 202), (3, 202), (4, 413)]
    assert "those after it" in found[-1]["problem"]["detail"]
    assert await stored(bench) == 3


@pytest.mark.parametrize(
    ("headers", "status", "name"),
    [
        ({"idempotency_key": '"a"'}, 400, "bad-idempotency-key"),
        ({"content_length": str(17 * 2**20)}, 413, "body-too-large"),
        ({"content_encoding": "gzip"}, 415, "unsupported-media-type"),
        ({"content_type": "application/x-ndjson; charset=latin1"}, 415, "unsupported-media-type"),
    ],
)
async def test_a_whole_request_is_refused_by_its_head(
    bench: IntakeBench, headers: dict[str, str], status: int, name: str
) -> None:
    refused = await post(bench.endpoint, line("a"), **headers)
    assert (refused.status, refused.json["type"]) == (status, f"/problems/{name}")
    assert await stored(bench) == 0


@pytest.mark.parametrize("chunks", [(), (b"",), (b" \n\r\n",)])
async def test_a_body_without_lines_was_lost(bench: IntakeBench, chunks: tuple[bytes, ...]) -> None:
    refused = await post(bench.endpoint, *chunks)
    assert (refused.status, refused.json["type"]) == (400, "/problems/empty-body")


async def test_a_charset_of_utf8_is_fine(bench: IntakeBench) -> None:
    (found,) = outcomes(await post(bench.endpoint, line("a"), content_type="Application/X-NDJSON; charset=UTF-8"))
    assert found["status"] == 202


async def test_lines_are_submitted_while_the_body_arrives_and_answered_after_it(bench: IntakeBench) -> None:
    rest = asyncio.Event()
    sent: list[Any] = []
    bodies = iter([line("a"), line("b")])

    async def receive() -> Any:
        body = next(bodies)
        if body == line("b"):
            await rest.wait()
        return {"type": "http.request", "body": body, "more_body": body == line("a")}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", LINES.encode())]}
    running = asyncio.create_task(bench.endpoint(scope, receive, send))
    async with asyncio.timeout(10):
        # The store in memory has no event.
        while await stored(bench) == 0:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert sent == []
    rest.set()
    await running
    assert len(b"".join(message.get("body", b"") for message in sent).splitlines()) == 2


async def test_a_client_that_leaves_has_submitted_whole_lines_only(bench: IntakeBench) -> None:
    sent: list[Any] = []
    messages = iter(
        [
            {"type": "http.request", "body": line("a") + line("b")[:-1], "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive() -> Any:
        # What arrived in one piece with the end is given up.
        await asyncio.sleep(0.05)
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", LINES.encode())]}
    await bench.endpoint(scope, receive, send)
    assert (sent, await stored(bench)) == ([], 1)
    both = outcomes(await post(bench.endpoint, line("a") + line("b")))
    assert [each.get("replayed", False) for each in both] == [True, False]
    assert await stored(bench) == 2


async def test_lines_beyond_the_rate_wait_for_it(bench: IntakeBench) -> None:
    limit = RateLimit(RequestRate(per_s=100.0, burst=10), free=frozenset())

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        scope[SCOPE_KEY] = SUBMITTER
        limit.check(scope)
        await bench.endpoint(scope, receive, send)

    began = time.monotonic()
    found = outcomes(await post(guarded, b"".join(line(str(n)) for n in range(40))))
    assert {each["status"] for each in found} == {202}
    # The burst is ten, the request itself among them.
    assert time.monotonic() - began >= 0.29


async def test_only_operators_name_an_edited_source(bench: IntakeBench) -> None:
    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        await bench.endpoint({**scope, SCOPE_KEY: SUBMITTER}, receive, send)

    source = "01a20d05-adf2-7315-9ee6-8162dae54aa3"
    edited, plain = outcomes(await post(guarded, line("a", edited_from=source) + line("b")))
    assert (edited["status"], edited["problem"]["type"]) == (403, "/problems/missing-permission")
    assert plain["status"] == 202


async def test_a_quota_refuses_lines_and_says_when_to_come_back() -> None:
    bench = IntakeBench(Quotas(in_all=2, of_tenant=0))
    await bench.begin()
    found = outcomes(await post(bench.endpoint, b"".join(line(str(n)) for n in range(4))))
    assert [each["status"] for each in found] == [202, 202, 503, 503]
    assert found[-1]["problem"]["type"] == "/problems/quota-exceeded"
    assert found[-1]["retry_after_s"] >= 1
    await bench.bundle_publisher.stop()


async def test_many_lines_are_all_answered(bench: IntakeBench) -> None:
    number = 3 * many.IN_FLIGHT
    found = outcomes(await post(bench.endpoint, b"".join(line(str(n)) for n in range(number))))
    assert [each["line"] for each in found] == [*range(1, number + 1)]
    assert {each["status"] for each in found} == {202}
    assert await stored(bench) == number
