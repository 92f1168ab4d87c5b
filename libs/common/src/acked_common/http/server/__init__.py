"""The HTTP server: uvicorn with deadlines, bounded request heads and a graceful stop.

uvicorn has no deadline for the first byte, the head and the body of a request, and no limit on the size of a head. It
has neither a setting nor a public interface for these, so Acked overrides methods of private classes:

| module | overrides | why |
|---|---|---|
| `protocol` | `HttpToolsProtocol` | deadlines, sizes, connections in all; problem documents; one timer for all |
| `response_cycle` | `RequestResponseCycle.send`, `receive` | head and body in one write |
| `graceful_stop` | `Server.startup`, `shutdown`, `handle_exit`, `capture_signals` | leaves a port without a reset |
| `websocket_protocol` | `WebSocketsSansIOProtocol` | sizes, fragments, bad handshakes, slices, rate of control frames |

These replace the bodies of their parents, so port changes there by hand: `data_received`, `eof_received`, `on_header`,
`on_headers_complete`, `on_body`, `on_message_complete`, `on_response_complete` and `_should_upgrade` of the protocol,
`send` of the cycle, `receive` and `handle_ping` of the WebSocket. The others call their parents.

To upgrade uvicorn, websockets or httptools, raise the bound in `libs/common/pyproject.toml` and run
`pytest tests/architecture/test_library_internals.py`. It holds a digest of the source of each method that is overridden
or relied on, and names those that changed and what depends on them. Compare each with its override, port relevant
changes, record the new digest. Then run `pytest tests/unit/common/http/server` and the acceptance tests named
`hostile`, `slow_clients` and `misreading`.
"""
