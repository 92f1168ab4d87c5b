"""Both shells have the same methods, arguments and descriptions."""

import ast
import inspect
import logging
import re
from pathlib import Path
from typing import Any

import pytest

import acked_client
from acked_client import Acked, AsyncAcked, AsyncBulkHandle, AsyncHandle, BulkHandle, Handle, RetryPolicy
from acked_client.settings import read_config
from acked_client.shells.async_attention import AsyncAttentionCalls
from acked_client.shells.async_callback_endpoints import AsyncCallbackEndpointCalls
from acked_client.shells.async_callbacks import AsyncCallbackCalls
from acked_client.shells.async_figures import AsyncFigureCalls
from acked_client.shells.async_operating import AsyncOperatorCalls
from acked_client.shells.async_schedules import AsyncScheduleCalls, AsyncScheduleHandle
from acked_client.shells.attention import AttentionCalls
from acked_client.shells.callback_endpoints import CallbackEndpointCalls
from acked_client.shells.callbacks import CallbackCalls
from acked_client.shells.figures import FigureCalls
from acked_client.shells.operating import OperatorCalls
from acked_client.shells.schedules import ScheduleCalls, ScheduleHandle
from acked_client.shells.transport import QUIET

PAIRS = [(Acked, AsyncAcked), (Handle, AsyncHandle), (BulkHandle, AsyncBulkHandle)]
PAIRS += [(OperatorCalls, AsyncOperatorCalls), (CallbackCalls, AsyncCallbackCalls)]
PAIRS += [(CallbackEndpointCalls, AsyncCallbackEndpointCalls)]
PAIRS += [(AttentionCalls, AsyncAttentionCalls), (FigureCalls, AsyncFigureCalls)]
PAIRS += [(ScheduleCalls, AsyncScheduleCalls), (ScheduleHandle, AsyncScheduleHandle)]
OF_BLOCKS = {"__enter__": "__aenter__", "__exit__": "__aexit__"}
WITHOUT_REQUEST = {"job", "bulk", "jobs", "attention", "watch", "steps", "batches", "bulk_actions", "audit"}
WITHOUT_REQUEST |= {"callbacks", "schedule", "schedules"}
"""Methods that are no coroutines in either shell: they return a handle, or iterate."""


def methods(owner: type) -> dict[str, Any]:
    return {name: found for name, found in vars(owner).items() if inspect.isfunction(found) and name != "_run"}


def words(annotation: object) -> str:
    """An annotation without what only tells the shells apart."""
    plain = re.sub(r"acked_client\.shells\.\w+\.", "", str(annotation))
    return re.sub(r"\bAsync(?=(Handle|BulkHandle|ScheduleHandle|Iterator|Driver))", "", plain)


@pytest.mark.parametrize(("blocking", "asynchronous"), PAIRS)
def test_shells_have_the_same_signatures_and_descriptions(blocking: type, asynchronous: type) -> None:
    ours, theirs = methods(blocking), methods(asynchronous)
    assert {OF_BLOCKS.get(name, name) for name in ours} == theirs.keys()
    for name, function in ours.items():
        other = theirs[OF_BLOCKS.get(name, name)]
        assert inspect.getdoc(function) == inspect.getdoc(other), name
        mine, its = inspect.signature(function), inspect.signature(other)
        assert [(p.name, p.kind, p.default, words(p.annotation)) for p in mine.parameters.values()] == [
            (p.name, p.kind, p.default, words(p.annotation)) for p in its.parameters.values()
        ], name
        assert words(mine.return_annotation) == words(its.return_annotation), name
        if not name.startswith("_"):
            assert (name in WITHOUT_REQUEST) != (
                inspect.iscoroutinefunction(other) or inspect.isasyncgenfunction(other)
            ), name


def overloads(module: Any, owner: str) -> list[str]:
    tree = ast.parse(Path(module.__file__).read_text())
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == owner)
    return [
        words(ast.unparse(node)).replace("async def", "def")
        for node in found.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and any(ast.unparse(decorator) == "overload" for decorator in node.decorator_list)
    ]


def test_shells_have_the_same_overloads() -> None:
    from acked_client import async_client, client

    assert overloads(client, "Acked") == overloads(async_client, "AsyncAcked")
    assert len(overloads(client, "Acked")) == 6


def test_package_exports_what_it_names() -> None:
    assert all(hasattr(acked_client, name) for name in acked_client.__all__)
    assert (Path(acked_client.__file__).parent / "py.typed").exists()


def config(**changes: Any) -> Any:
    given = {"intake": None, "token": None, "token_file": None, "retry": None, "verify": True, "trace_context": None}
    return read_config(changes.pop("gateway", "http://localhost:8080"), **(given | changes))


def test_token_comes_from_argument_file_or_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("of-file\n")
    monkeypatch.delenv("ACKED_TOKEN", raising=False)
    monkeypatch.delenv("ACKED_TOKEN_FILE", raising=False)
    assert config().token is None
    monkeypatch.setenv("ACKED_TOKEN_FILE", str(file))
    assert config().token == "of-file"
    monkeypatch.setenv("ACKED_TOKEN", "of-environment")
    assert config().token == "of-environment"
    assert config(token_file=file).token == "of-file"
    assert config(token="of-argument").token == "of-argument"
    with pytest.raises(ValueError, match="not both"):
        config(token="x", token_file=file)


@pytest.mark.parametrize("token", ["", " ", "a b", "a\nb", "ä"])
def test_token_that_no_header_can_carry_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(ValueError, match="token") as caught:
        config(token=token)
    assert not token.strip() or token not in str(caught.value)


def test_token_is_in_no_representation() -> None:
    with Acked("http://localhost:1", token="very-secret", retry=RetryPolicy(budget_s=0)) as acked:
        for shown in (acked, acked._driver, acked._session, acked._driver._config, acked._driver._http.headers):
            assert "very-secret" not in repr(shown)


@pytest.mark.parametrize(
    "url", ["localhost:8080", "ftp://localhost", "http://", "http://u:p@localhost", "http://h?x=1"]
)
def test_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        config(gateway=url)


def test_trace_context_is_sent_and_nothing_else() -> None:
    made = config(trace_context=lambda: {"traceparent": "00-1-2-01", "tracestate": "", "authorization": "x"})
    assert made.trace_headers() == {"traceparent": "00-1-2-01"}


def test_handshake_is_never_logged() -> None:
    QUIET.logger.setLevel(logging.DEBUG)
    try:
        assert not QUIET.isEnabledFor(logging.DEBUG) and QUIET.isEnabledFor(logging.INFO)
    finally:
        QUIET.logger.setLevel(logging.NOTSET)


def test_policies_are_checked() -> None:
    for name in ("budget_s", "base_s", "cap_s", "request_s", "outage_s"):
        for value in (-1.0, float("nan")):
            with pytest.raises(ValueError, match=name):
                RetryPolicy(**{name: value})
