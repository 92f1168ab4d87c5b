"""OWNER of the messages that gateways publish to each other over RabbitMQ: commands and database notices. Pure.

A command is a MessagePack map with `type`, `boot` (the target worker process) and, for a cancel, its attempts. A lost
command only delays its effect: the store has it too.
"""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from acked_common.channel.frames import MAX_CANCELS, JobAttempt
from acked_common.model.bundle import WireError

MAX_COMMAND_BYTES = 64 * 1024
_Boot = Annotated[str, Meta(min_length=1, max_length=64)]


class CancelCommand(Struct, tag_field="type", tag="cancel", frozen=True):
    """Cancel these attempts."""

    boot: _Boot
    jobs: Annotated[list[JobAttempt], Meta(min_length=1, max_length=MAX_CANCELS)]


class SignalledCommand(Struct, tag_field="type", tag="signalled", frozen=True):
    """End the waits of these attempts: a signal may have come. A gateway of an earlier version ignores it."""

    boot: _Boot
    jobs: Annotated[list[JobAttempt], Meta(min_length=1, max_length=MAX_CANCELS)]


class DrainCommand(Struct, tag_field="type", tag="drain", frozen=True):
    """Drain and exit."""

    boot: _Boot


class DatabaseNotice(Struct, tag_field="type", tag="database", frozen=True):
    """Announce which database the gateways of this virtual host use."""

    id: Annotated[str, Meta(min_length=1, max_length=64)]
    name: Annotated[str, Meta(max_length=64)]


Command = CancelCommand | SignalledCommand | DrainCommand
Published = Command | DatabaseNotice

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(CancelCommand | SignalledCommand | DrainCommand | DatabaseNotice)


def encode_command(command: Published) -> bytes:
    """Encode a command or a notice."""
    return _encoder.encode(command)


def decode_command(data: bytes) -> Published:
    """Decode a command or a notice. Raise `WireError`."""
    if len(data) > MAX_COMMAND_BYTES:
        raise WireError(f"a command of {len(data)} bytes")
    try:
        command: Published = _decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise WireError(f"not a command: {error}") from None
    return command
