"""OWNER of what gateways publish to each other, as bytes on the broker: commands, and notices of their database. Pure.

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


class DatabaseNotice(Struct, tag_field="type", tag="database", frozen=True):
    """Says which database the gateways of this virtual host work on."""

    id: Annotated[str, Meta(min_length=1, max_length=64)]
    name: Annotated[str, Meta(max_length=64)]


Command = CancelCommand | DrainCommand
Published = CancelCommand | DrainCommand | DatabaseNotice

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(CancelCommand | DrainCommand | DatabaseNotice)


def encode_command(command: Published) -> bytes:
    """The bytes of a command, or of a notice."""
    return _encoder.encode(command)


def decode_command(data: bytes) -> Published:
    """The command or the notice in the bytes, or `WireError`."""
    if len(data) > MAX_COMMAND_BYTES:
        raise WireError(f"a command of {len(data)} bytes")
    try:
        command: Published = _decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise WireError(f"not a command: {error}") from None
    return command
