"""OWNER of the commands that gateways pass on to each other, as bytes on the broker. Pure.

A command is MessagePack: a map with `type`, `boot` (the worker process it is for) and, for a cancel, its attempts.
A lost command is only late: it is also in the store.
"""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from acked_common.channel.frames import MAX_CANCELS, JobAttempt
from acked_common.model.bundle import WireError

MAX_COMMAND_BYTES = 64 * 1024
_Boot = Annotated[str, Meta(min_length=1, max_length=64)]


class CancelCommand(Struct, tag_field="type", tag="cancel", frozen=True):
    """Stop these attempts."""

    boot: _Boot
    jobs: Annotated[list[JobAttempt], Meta(min_length=1, max_length=MAX_CANCELS)]


class DrainCommand(Struct, tag_field="type", tag="drain", frozen=True):
    """Drain and end."""

    boot: _Boot


Command = CancelCommand | DrainCommand

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(CancelCommand | DrainCommand)


def encode_command(command: Command) -> bytes:
    """The bytes of a command."""
    return _encoder.encode(command)


def decode_command(data: bytes) -> Command:
    """The command in the bytes, or `WireError`."""
    if len(data) > MAX_COMMAND_BYTES:
        raise WireError(f"a command of {len(data)} bytes")
    try:
        command: Command = _decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise WireError(f"not a command: {error}") from None
    return command
