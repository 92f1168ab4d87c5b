"""The page at every address of the gateway; at that of the load test it may carry a one-time value.

With the value the page starts a test by itself. It is given only to a person who typed the address, or who followed a
link of the gateway's own pages that names a count or a kind.
"""

from starlette.requests import Request
from starlette.responses import Response

from acked_common.api.pages import Page
from acked_common.http.request_source import by_name, is_by_person
from acked_common.runtime.clock import Clock
from acked_gateway.load_test.one_time import OneTimeValues
from acked_gateway.load_test.operations import LOAD_TEST
from acked_gateway.load_test.runner import new_batch_name
from acked_gateway.pages.shell import Shell


def make_page(shell: Shell, run_once: OneTimeValues, clock: Clock) -> Page:
    """Return what renders the shell for a request."""

    def attributes(request: Request) -> dict[str, str] | None:
        if request.url.path != LOAD_TEST.path or "batch" in request.query_params:
            return None
        headers = by_name(request.headers.raw)
        if not is_by_person(headers):
            return None
        if headers.get(b"sec-fetch-site") == b"same-origin" and not request.query_params:
            # The place "Load test" of each page shows the form; only a link that says what to run runs it.
            return None
        # The page names the tests that a click starts in the same way.
        batch = new_batch_name(random_bytes=3)
        return {"run-once": run_once.issue(batch, clock.now().timestamp()), "run-batch": batch}

    def page(request: Request) -> Response:
        return Response(shell.render(request.url.netloc, attributes(request)), media_type="text/html")

    return page
