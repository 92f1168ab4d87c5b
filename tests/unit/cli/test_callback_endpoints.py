"""`callback-endpoints`: the definition that options stand for, and what is shown."""

import pytest

from support.cli import Reply, Server, acked, problem
from support.client_flows import callback_endpoint

URL = "https://hooks.example/x"
PATH = "/callback-endpoints/billing"


def test_options_are_the_whole_definition(server: Server) -> None:
    server.on("PUT", PATH, Reply(callback_endpoint(), 201))
    words = ["--on", "failed", "--on", "cancelled", "--kind", "mail", "--header", "authorization: Bearer a:b"]
    ended = acked("callback-endpoints", "put", "billing", URL, *words)
    assert ended.code == 0 and [record["name"] for record in ended.records] == ["billing"], ended.err
    assert acked("callback-endpoints", "put", "billing", URL).code == 0
    assert acked("callback-endpoints", "put", "billing", URL, "--no-headers").code == 0
    whole, plain, bare = server.sent("PUT", PATH)
    assert whole.json == {
        "url": URL,
        "events": ["job.failed", "job.cancelled"],
        "kinds": ["mail"],
        "headers": {"authorization": "Bearer a:b"},
    }
    assert plain.json == {"url": URL}
    assert bare.json == {"url": URL, "headers": {}}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--on", "running"], "not 'running'"),
        (["--header", "authorization"], "NAME:VALUE"),
        (["--header", "a:1", "--no-headers"], "--no-headers"),
    ],
    ids=["no-end", "no-value", "both"],
)
def test_option_that_can_mean_nothing_is_not_sent(server: Server, words: list[str], message: str) -> None:
    ended = acked("callback-endpoints", "put", "billing", URL, *words)
    assert (ended.code, server.received) == (2, []) and message in ended.err


def test_endpoints_say_who_disabled_them(server: Server) -> None:
    evil = callback_endpoint(disabled=callback_endpoint()["disabled"] | {"reason": "a\x1b]0;title\x07"})
    server.on("GET", "/callback-endpoints", {"endpoints": [evil, callback_endpoint(name="b", disabled=None)]})
    server.on("GET", PATH, evil)
    shown = acked("callback-endpoints", on_terminal=True).out
    assert "by acked since" in shown and r"\x1b]0;title" in shown and "\x1b]" not in shown
    assert [record["name"] for record in acked("callback-endpoints").records] == ["billing", "b"]
    assert "authorization" in acked("callback-endpoints", "show", "billing", on_terminal=True).out


def test_endpoint_is_enabled_disabled_and_deleted(server: Server) -> None:
    for verb in ("enable", "disable"):
        server.on("POST", f"{PATH}/{verb}", callback_endpoint())
    server.on("GET", PATH, callback_endpoint())
    server.on("DELETE", PATH, callback_endpoint())
    assert acked("callback-endpoints", "enable", "billing").code == 0
    assert acked("callback-endpoints", "disable", "billing", "--reason", "moves").code == 0
    assert server.sent("POST", f"{PATH}/disable")[0].json == {"reason": "moves"}
    assert acked("callback-endpoints", "delete", "billing").code == 0
    assert len(server.sent("DELETE", PATH)) == 1
    assert acked("callback-endpoints", "show", "other").code == 3
    server.on("PUT", PATH, problem("too-many-callback-endpoints", 429))
    ended = acked("callback-endpoints", "put", "billing", URL, "--retry-for", "0")
    assert ended.code != 0 and "acked callback-endpoints lists them" in ended.err
