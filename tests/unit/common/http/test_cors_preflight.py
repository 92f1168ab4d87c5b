"""CORS headers of guarded responses, and preflight requests."""

import pytest

from acked_common.http.cors import EXPOSED_HEADERS
from support.guarded import (
    FOREIGN_ORIGINS,
    ORIGIN,
    call,
)


async def cors_headers(
    origin: str | None, *, method: str = "GET", host: bytes = b"localhost", **more: str
) -> dict[str, str]:
    headers = [(b"host", host), *((name.replace("_", "-").encode(), value.encode()) for name, value in more.items())]
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    app, sent = await call(headers, method=method)
    wanted = ("vary", "access-control-")
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"] if name.decode().startswith(wanted)}
    return {"status": str(sent[0]["status"]), "reached": str(app.reached), **found}


async def test_cors_of_a_listed_origin_is_told_with_every_status() -> None:
    allowed = {
        "vary": "Origin",
        "access-control-allow-origin": ORIGIN,
        "access-control-expose-headers": ", ".join(EXPOSED_HEADERS),
    }
    assert await cors_headers(ORIGIN) == {"status": "200", "reached": "True", **allowed}
    assert await cors_headers(ORIGIN, method="POST") == {"status": "200", "reached": "True", **allowed}
    # Refused ahead of the application.
    assert await cors_headers(ORIGIN, host=b"evil.example") == {"status": "421", "reached": "False", **allowed}


@pytest.mark.parametrize("origin", [None, "https://acked.example:444", "null", "*", "http://acked.example"])
async def test_cors_of_others_is_vary_alone(origin: str | None) -> None:
    assert await cors_headers(origin) == {"status": "200", "reached": "True", "vary": "Origin"}


async def test_cors_preflight_of_a_listed_origin_is_answered_here() -> None:
    asked = {"access_control_request_method": "POST", "access_control_request_headers": "authorization,content-type"}
    found = await cors_headers(ORIGIN, method="OPTIONS", **asked)
    assert found == {
        "status": "204",
        "reached": "False",
        "vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        "access-control-allow-origin": ORIGIN,
        "access-control-allow-methods": "GET, HEAD, POST, PUT, DELETE",
        "access-control-allow-headers": "Authorization, Content-Type, Idempotency-Key, Last-Event-ID",
        "access-control-max-age": "600",
    }
    near = await cors_headers(ORIGIN, method="OPTIONS", access_control_request_private_network="true", **asked)
    assert near["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
async def test_cors_preflight_of_a_foreign_origin_is_refused(origin: str) -> None:
    found = await cors_headers(origin, method="OPTIONS", access_control_request_method="POST")
    assert (found["status"], found["reached"], found["vary"]) == ("403", "False", "Origin")
    assert "access-control-allow-origin" not in found


async def test_cors_options_without_a_question_goes_to_the_application() -> None:
    assert (await cors_headers(ORIGIN, method="OPTIONS"))["reached"] == "True"
