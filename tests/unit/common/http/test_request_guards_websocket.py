"""Which origins open a WebSocket, and how the others are refused."""

import json

import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from support.guarded import (
    ACCESS_POINT,
    FOREIGN_ORIGINS,
    LOOPBACK_ORIGIN,
    OWN_ORIGINS,
    App,
    call,
    guarded,
)
from support.web_server import serving


@pytest.mark.parametrize("origin", [origin for origin in FOREIGN_ORIGINS if origin != LOOPBACK_ORIGIN])
async def test_a_foreign_origin_gets_no_websocket(origin: str) -> None:
    headers = [*ACCESS_POINT, (b"origin", origin.encode())]
    app, sent = await call(headers, scope_type="websocket", extensions={"websocket.http.response": {}})
    assert not app.reached
    assert [message["type"] for message in sent] == ["websocket.http.response.start", "websocket.http.response.body"]
    assert sent[0]["status"] == 403


async def test_a_server_without_the_extension_closes_the_websocket() -> None:
    app, sent = await call([(b"host", b"evil.example")], scope_type="websocket")
    assert not app.reached
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1008)]


@pytest.mark.parametrize("origin", [None, *OWN_ORIGINS])
async def test_programs_and_allowed_origins_get_a_websocket(origin: str | None) -> None:
    headers = ACCESS_POINT if origin is None else [*ACCESS_POINT, (b"origin", origin.encode())]
    app, sent = await call(headers, scope_type="websocket")
    assert app.reached
    assert sent[0] == {"type": "websocket.accept"}


async def test_on_a_real_server_a_websocket_is_refused_with_a_problem() -> None:
    config = uvicorn.Config(guarded(App()), lifespan="off", log_config=None, ws="websockets-sansio")
    async with serving(config) as web:
        port = web.port
        url = f"ws://127.0.0.1:{port}/ws/feed"
        async with connect(url, proxy=None) as line:
            await line.wait_closed()
        async with connect(url, origin=Origin(f"http://127.0.0.1:{port}"), proxy=None) as line:
            await line.wait_closed()
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, origin=Origin("http://evil.example"), proxy=None)
    response = refused.value.response
    assert response.status_code == 403
    assert response.headers["content-type"] == "application/problem+json"
    assert response.body is not None
    assert json.loads(response.body)["type"] == "/problems/origin-not-allowed"
