"""What Acked overrides, copies or relies on inside of libraries is as it was when it was last read.

Public interfaces keep their promises; these have none. A new version that changed one of them is read again, beside the
code of ours that depends on it, before it is taken.
"""

import hashlib
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest

OURS = ("acked", "acked_cli", "acked_client", "acked_common", "acked_gateway", "acked_intake", "acked_worker")
LIBRARIES = ("uvicorn", "websockets", "aio_pika", "aiormq", "motor", "pymongo", "bson", "httptools")
"""Whose classes are not made to be overridden. Starlette's and aiohttp's are, by the methods that Acked overrides."""

HTTP = "uvicorn.protocols.http.httptools_impl"
WEBSOCKET = "uvicorn.protocols.websockets.websockets_sansio_impl"

RELIED_ON = {
    f"{HTTP}:HttpToolsProtocol.__init__": "protocol.py and graceful_stop.py read its attributes",
    f"{HTTP}:HttpToolsProtocol._get_upgrade": "protocol.py decides in its place what becomes a WebSocket",
    f"{HTTP}:HttpToolsProtocol._should_upgrade": "protocol.py decides in its place what becomes a WebSocket",
    f"{HTTP}:RequestResponseCycle.__init__": "response_cycle.py and protocol.py read and set its attributes",
    f"{HTTP}:RequestResponseCycle.run_asgi": "response_cycle.py is called by it; what a fault leaves of an answer",
    f"{HTTP}:HEADER_RE": "response_cycle.py checks names of headers by it",
    f"{HTTP}:HEADER_VALUE_RE": "response_cycle.py makes of it what it refuses in values",
    f"{HTTP}:_get_status_line": "error_response.py and response_cycle.py write its lines, by STATUS_LINE",
    "uvicorn.protocols.http.flow_control:FlowControl": "protocol.py and response_cycle.py pause and drain by it",
    "uvicorn.server:ServerState": "graceful_stop.py reads the connections, protocol.py the headers and totals",
    "uvicorn.server:Server._serve": "graceful_stop.py takes part in its order: startup, main loop, shutdown",
    "uvicorn.config:Config.load": "graceful_stop.py puts another application in the place of loaded_app",
    f"{WEBSOCKET}:WebSocketsSansIOProtocol.__init__": "websocket_protocol.py and graceful_stop.py read its attributes",
    f"{WEBSOCKET}:WebSocketsSansIOProtocol.handle_events": "websocket_protocol.py is called by it",
    f"{WEBSOCKET}:WebSocketsSansIOProtocol.handle_parser_exception": "websocket_protocol.py ends a connection by it",
    f"{WEBSOCKET}:WebSocketsSansIOProtocol.shutdown": "graceful_stop.py ends WebSockets by it",
    "websockets.protocol:Protocol.fail": "websocket_protocol.py refuses a message by it",
    "websockets.protocol:Protocol.parse": "websocket_protocol.py sets max_message_size, which it reads",
    "aio_pika.channel:Channel.get_underlay_channel": "publisher.py and consumer.py work on the channel below",
    "aio_pika.connection:Connection.__init__": "connection.py reads connected and transport",
    "aiormq.base:FutureStore.reject_all": "connection.py names the bare Exception that it sets",
    "aiormq.connection:Connection.ready": "connection.py steps it once to learn whether the broker blocks",
    "aiormq.channel:Channel.__init__": "consumer.py reads consumers",
    "aiormq.channel:Channel.basic_publish": "publisher.py passes wait=False and needs a message id of its own",
    "motor.frameworks.asyncio:_reset_global_executor": "driver.py makes the pool of threads by it, with max_workers",
    "motor.frameworks.asyncio:run_on_executor": "driver.py relies on the pool being looked up with each call",
}
"""What Acked relies on beside what it overrides, and where."""

READ = {
    "aio_pika.channel:Channel.get_underlay_channel": "41d6d4852aaae832",
    "aio_pika.connection:Connection.__init__": "88f0771f9ed14711",
    "aiormq.base:FutureStore.reject_all": "cc58ef77b7276d3c",
    "aiormq.channel:Channel.__init__": "884f16c5d3f72efc",
    "aiormq.channel:Channel.basic_publish": "4c5c91a4d75be291",
    "aiormq.connection:Connection.ready": "1cfa134e8cfab7c6",
    "motor.frameworks.asyncio:_reset_global_executor": "597ee83754155b95",
    "motor.frameworks.asyncio:run_on_executor": "c7b38a4aaea77bfa",
    "uvicorn.config:Config.load": "92b7159dce105a9c",
    "uvicorn.protocols.http.flow_control:FlowControl": "126debcdaa894c83",
    f"{HTTP}:HEADER_RE": "62c4eb329b0617d7",
    f"{HTTP}:HEADER_VALUE_RE": "86983af49bddcc8f",
    f"{HTTP}:HttpToolsProtocol.__init__": "4f08999410347141",
    f"{HTTP}:HttpToolsProtocol._get_upgrade": "7b1305aac7b87064",
    f"{HTTP}:HttpToolsProtocol._should_upgrade": "8fcad1ab8e096739",
    f"{HTTP}:HttpToolsProtocol._start_asgi_task": "9c08c2571ae9b038",
    f"{HTTP}:HttpToolsProtocol.connection_lost": "c91a4c9bf2e29c55",
    f"{HTTP}:HttpToolsProtocol.connection_made": "6efb565ff3d36b91",
    f"{HTTP}:HttpToolsProtocol.data_received": "010a7ae59a5d3b1a",
    f"{HTTP}:HttpToolsProtocol.eof_received": "5652627579a02369",
    f"{HTTP}:HttpToolsProtocol.handle_websocket_upgrade": "179c4f769386ab89",
    f"{HTTP}:HttpToolsProtocol.on_body": "dba9c32aeba35b6a",
    f"{HTTP}:HttpToolsProtocol.on_header": "65d62c044f61fdbd",
    f"{HTTP}:HttpToolsProtocol.on_headers_complete": "1ea8589acfad92d8",
    f"{HTTP}:HttpToolsProtocol.on_message_begin": "96d377fdc7c2baef",
    f"{HTTP}:HttpToolsProtocol.on_message_complete": "1fbad42dc31fc01f",
    f"{HTTP}:HttpToolsProtocol.on_response_complete": "64e254f28e389e76",
    f"{HTTP}:RequestResponseCycle.__init__": "4d2f220910c33c12",
    f"{HTTP}:RequestResponseCycle.receive": "8124ae006be71184",
    f"{HTTP}:RequestResponseCycle.run_asgi": "0f33f2449a444bc2",
    f"{HTTP}:RequestResponseCycle.send": "abdd8601b326a8da",
    f"{HTTP}:_get_status_line": "d7012e110d2d2574",
    f"{WEBSOCKET}:WebSocketsSansIOProtocol.__init__": "631dcd744eab875f",
    f"{WEBSOCKET}:WebSocketsSansIOProtocol.connection_lost": "dd116afc4d8034e1",
    f"{WEBSOCKET}:WebSocketsSansIOProtocol.data_received": "c89d394077d8841d",
    f"{WEBSOCKET}:WebSocketsSansIOProtocol.handle_connect": "fc648c2161ff8e13",
    f"{WEBSOCKET}:WebSocketsSansIOProtocol.handle_cont": "d96fe1479da61beb",
    f"{WEBSOCKET}:WebSocketsSansIOProtocol.handle_events": "b2c9351a5d13493f",
    f"{WEBSOCKET}:WebSocketsSansIOProtocol.handle_parser_exception": "ff5cf13c764fb332",
    f"{WEBSOCKET}:WebSocketsSansIOProtocol.handle_ping": "41bcf345d372c55c",
    f"{WEBSOCKET}:WebSocketsSansIOProtocol.handle_pong": "b20c68cc7e4f9bca",
    f"{WEBSOCKET}:WebSocketsSansIOProtocol.receive": "1dc0e715390021a1",
    f"{WEBSOCKET}:WebSocketsSansIOProtocol.resume_writing": "ef79384e5fff077c",
    f"{WEBSOCKET}:WebSocketsSansIOProtocol.send": "d4919ed760ce9f7b",
    f"{WEBSOCKET}:WebSocketsSansIOProtocol.shutdown": "e8ace796ada616b7",
    "uvicorn.server:Server._serve": "4575b7a50adfede8",
    "uvicorn.server:Server.capture_signals": "e1bbcd4770d1c887",
    "uvicorn.server:Server.handle_exit": "553276efa26e09ea",
    "uvicorn.server:Server.shutdown": "9b33c50562992b1e",
    "uvicorn.server:Server.startup": "2aa1d70a244bfcf2",
    "uvicorn.server:ServerState": "f2260fbf10154746",
    "websockets.protocol:Protocol.fail": "924ae7075dc75a9d",
    "websockets.protocol:Protocol.parse": "45aaf900644b63c4",
}
"""What each source was when it was read last: the start of its SHA-256."""


def overridden() -> Iterator[tuple[str, str]]:
    """Each method of a library that a class of ours overrides, as `module:Class.method`, and the class of ours."""
    for package in OURS:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
            if not module.name.endswith("__main__"):
                yield from _overridden_in(module.name)


def _overridden_in(module: str) -> Iterator[tuple[str, str]]:
    for found in vars(importlib.import_module(module)).values():
        if not inspect.isclass(found) or found.__module__ != module:
            continue
        for parent in found.__mro__[1:]:
            if parent.__module__.partition(".")[0] in LIBRARIES:
                for name in vars(found).keys() & vars(parent).keys():
                    if inspect.isroutine(vars(parent)[name]):
                        yield f"{parent.__module__}:{parent.__qualname__}.{name}", f"{module}.{found.__qualname__}"


def depended_on() -> dict[str, str]:
    """Everything whose source has to be as it was read, and who depends on it."""
    found = {place: f"{by} overrides it" for place, by in overridden() if not place.endswith(".__init__")}
    return {**RELIED_ON, **found}


def source_of(place: str) -> tuple[str, str]:
    """The source of `module:Class.method`, and where it stands."""
    module, _, names = place.partition(":")
    found: Any = importlib.import_module(module)
    for name in names.split("."):
        found = vars(found)[name]
    if isinstance(found, re.Pattern):
        return repr(found), module
    found = inspect.unwrap(found)
    return inspect.getsource(found), f"{inspect.getsourcefile(found)}:{inspect.getsourcelines(found)[1]}"


def digest(source: str) -> str:
    """What is noted of a source that was read."""
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def test_what_is_noted_is_what_is_depended_on() -> None:
    missing, gone = depended_on().keys() - READ.keys(), READ.keys() - depended_on().keys()
    lines = [f'    "{place}": "{digest(source_of(place)[0])}",' for place in sorted(missing)]
    assert not missing, "read these beside what overrides them, then add to READ:\n" + "\n".join(lines)
    assert not gone, f"nothing depends on these any more, take them out of READ: {', '.join(sorted(gone))}"


@pytest.mark.parametrize("place", sorted(READ))
def test_internals_of_libraries_are_as_they_were_read(place: str) -> None:
    library = place.partition(".")[0].partition(":")[0]
    by = depended_on()[place]
    try:
        source, where = source_of(place)
    except (ImportError, KeyError, AttributeError):
        pytest.fail(f"read again: {place} is gone from {library} {version(library)}; {by}")
    assert digest(source) == READ[place], (
        f"read again: {place} changed with {library} {version(library)}; {by}. Compare {where} with what it was in the "
        f"version before, take over into our code what is needed, then note {digest(source)} in READ"
    )
