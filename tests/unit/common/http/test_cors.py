"""CORS where no application responds, and what it lists; `test_cors_preflight` has the rest."""

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from acked_common.api.document import _ALWAYS_SENT
from acked_common.http.cors import EXPOSED_HEADERS, METHODS, REQUEST_HEADERS, Cors
from acked_common.http.requests import read_bounded
from acked_common.http.server.serve import server_config
from acked_common.http.settings import HttpLimits
from acked_gateway.jobs import operations as job_operations
from acked_gateway.load_test import operations as load_test_operations
from acked_gateway.pages import operations as page_operations
from acked_gateway.workers import operations as worker_operations
from acked_intake.request import operations as intake_operations
from support.web_server import serving

ORIGIN = "https://app.example"
ALLOWED = f"access-control-allow-origin: {ORIGIN}".encode()
WITHIN_S = 15.0


async def _body(request: Request) -> Response:
    return PlainTextResponse(str(len(await read_bounded(request, 2**20))))


async def answer_to(sent: bytes, limits: HttpLimits) -> bytes:
    """All bytes that a server which lists the origin answers."""
    app = Starlette(routes=[Route("/body", _body, methods=["POST"])])
    async with serving(server_config(app, limits, cors=Cors([ORIGIN]))) as web, asyncio.timeout(WITHIN_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
        writer.write(sent)
        found = await reader.read()
        writer.close()
        return found.lower()


def head(*lines: str, origin: str = ORIGIN) -> bytes:
    return "\r\n".join(["POST /body HTTP/1.1", "Host: localhost", f"Origin: {origin}", *lines, "", ""]).encode()


@pytest.mark.parametrize(
    ("sent", "limits", "status"),
    [
        (head("Content-Length: 5"), HttpLimits(body_s=0.05), 408),
        (head("Content-Length: 5")[:-2], HttpLimits(head_s=0.05), 408),
        (head("X: " + "x" * 40_000)[:-4], HttpLimits(), 431),
        (head("Transfer-Encoding: chunked") + b"no chunk\r\n", HttpLimits(), 400),
        (head("Content-Length: 0"), HttpLimits(connections=0), 503),
    ],
)
async def test_refusal_of_the_protocol_carries_cors(sent: bytes, limits: HttpLimits, status: int) -> None:
    answer = await answer_to(sent, limits)
    assert answer.startswith(f"http/1.1 {status} ".encode()), answer
    assert ALLOWED in answer
    assert b"vary: origin" in answer


async def test_refusal_of_the_protocol_names_no_foreign_origin() -> None:
    answer = await answer_to(head("Content-Length: 5", origin="https://evil.example"), HttpLimits(body_s=0.05))
    assert answer.startswith(b"http/1.1 408 ")
    assert b"access-control" not in answer
    assert b"vary: origin" in answer


def test_cors_lets_pages_use_what_the_services_take_and_answer() -> None:
    operations = [
        value
        for module in (job_operations, load_test_operations, page_operations, worker_operations, intake_operations)
        for value in vars(module).values()
        if type(value).__name__ == "Operation"
    ]
    assert len(operations) > 10
    assert {operation.method for operation in operations} <= set(METHODS)
    taken = {one.name for each in operations for one in each.parameters if one.place == "header"}
    # The page's own header is for the page's own origin.
    assert taken - {load_test_operations.RUN_ONCE_HEADER} <= set(REQUEST_HEADERS)
    assert load_test_operations.RUN_ONCE_HEADER not in REQUEST_HEADERS
    told = {name for each in operations for answer in each.answers for name in answer.headers}
    assert told | set(_ALWAYS_SENT) <= set(EXPOSED_HEADERS)
