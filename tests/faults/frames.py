"""Mangles the frames of a WebSocket on their way to the server: drops, doubles or swaps some of them. Pure."""

import random
from collections.abc import Callable

SHARE = 0.3
_TEXT = 0x1


def mangler(how: str, chance: random.Random) -> Callable[[bytes], bytes]:
    """What one connection's requests go through; the handshake and the first frame pass as they are."""
    pending = bytearray()
    is_open = False
    texts = 0
    held: list[bytes] = []

    def rewrite(chunk: bytes) -> bytes:
        nonlocal is_open, texts
        pending.extend(chunk)
        out = bytearray()
        if not is_open:
            end = pending.find(b"\r\n\r\n")
            if end < 0:
                return b""
            is_open = True
            out += pending[: end + 4]
            del pending[: end + 4]
        while (size := frame_size(pending)) is not None and len(pending) >= size:
            frame = bytes(pending[:size])
            del pending[:size]
            texts += frame[0] & 0x0F == _TEXT
            is_meant = frame[0] & 0x0F == _TEXT and texts > 1 and chance.random() < SHARE
            if is_meant and how == "dropped":
                continue
            if is_meant and how == "swapped" and not held:
                held.append(frame)
                continue
            out += frame * (2 if is_meant and how == "doubled" else 1)
            while held:
                out += held.pop()
        return bytes(out)

    return rewrite


def frame_size(start: bytes | bytearray) -> int | None:
    """The length of the frame that begins here, masked or not; None where too little of it is known."""
    if len(start) < 2:
        return None
    length, header = start[1] & 0x7F, 2
    if length >= 126:
        header += 2 if length == 126 else 8
        if len(start) < header:
            return None
        length = int.from_bytes(start[2:header], "big")
    return header + (4 if start[1] & 0x80 else 0) + length
