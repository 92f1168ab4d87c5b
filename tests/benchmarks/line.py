"""One client with one connection that is kept alive, and nothing between it and the socket."""

import socket

from benchmarks.generator import request_bytes

_END = b"\r\n\r\n"
_WITHIN_S = 30.0


class NotAccepted(ConnectionError):
    """Another response than a 202; the message has its begin. The connection goes on."""


class Line:
    """Posts one request after the other; a context manager."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self._port = port
        self._headers = headers

    def __enter__(self) -> "Line":
        self._socket = socket.create_connection(("127.0.0.1", self._port), _WITHIN_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def post(self, body: bytes, path: str = "/process") -> bytes:
        """The body of the response, when the request is accepted; raises `NotAccepted` when it is not, or another
        `OSError`."""
        self._socket.sendall(request_bytes(self._port, path, body, self._headers))
        answer = b""
        while True:
            data = self._socket.recv(65_536)
            if not data:
                raise ConnectionError("the endpoint has closed the connection")
            answer += data
            head, found, rest = answer.partition(_END)
            if not found:
                continue
            at = head.lower().index(b"content-length:")
            if len(rest) >= int(head[at + 15 :].split(b"\r\n", 1)[0]):
                break
        if not answer.startswith(b"HTTP/1.1 202"):
            raise NotAccepted(f"not accepted: {answer[:200]!r}")
        return rest
