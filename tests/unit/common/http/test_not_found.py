"""The 404s: a request at the wrong service is told where to go."""

import pytest
from starlette.routing import Route

from acked_common.http.not_found import OF_GATEWAY, OF_INTAKE, NotFound

FOUND = NotFound(
    [Route("/process", lambda _: None), Route("/status/{id}", lambda _: None)],
    {"/jobs": "http://g:1", "/ws": "http://g:1"},
)


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("/jobs", "http://g:1/jobs"),
        ("/jobs/a/retry", "http://g:1/jobs/a/retry"),
        ("/jobs/", "http://g:1/jobs"),
        ("/ws/feed", "ws://g:1/ws/feed"),
    ],
)
def test_path_of_the_other_service_names_its_url(path: str, url: str) -> None:
    found = FOUND.not_found(path)
    assert found.extra == {"url": url}
    assert url in found.detail


@pytest.mark.parametrize("path", ["/", "//", "/nowhere", "/jobsx", "/a/jobs"])
def test_path_of_no_service_is_a_plain_404(path: str) -> None:
    found = FOUND.not_found(path)
    assert (found.name, dict(found.extra)) == ("not-found", {})


@pytest.mark.parametrize(("path", "plain"), [("/process/", "/process"), ("/status/a//", "/status/a")])
def test_slash_too_many_is_named(path: str, plain: str) -> None:
    assert FOUND.not_found(path).detail.endswith(f"it is: {plain}")


def test_first_parts_of_the_services_differ() -> None:
    assert not set(OF_INTAKE) & set(OF_GATEWAY)
