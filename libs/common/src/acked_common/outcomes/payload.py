"""Convert the payload of a job to the type that its handler takes. Pure."""

from acked import Kind, Permanent
from acked.payloads import PayloadRefused
from acked_common.model.payload_faults import fault_at, fault_of

INVALID_PAYLOAD = "InvalidPayload"


class PayloadNotTaken(Permanent):
    """The handler can't take the payload. The job fails at once, because no later attempt could."""


def typed_payload(kind: Kind, value: object) -> object:
    """Return the payload as the handler takes it: converted, or the decoded JSON if its annotation has no type.

    Raise `PayloadNotTaken`, whose message has the JSON pointer of the fault, and any error of the type itself.
    """
    of = kind.payload
    if of is None:
        return value
    try:
        return of.convert(value)
    except PayloadRefused as error:
        if error.path is None:
            fault = fault_of(error.message, value, of.convert, of.schema)
        else:
            fault = fault_at(error.path, error.message, value)
    raise PayloadNotTaken(f"the handler can't accept the payload: {fault.text}", type=INVALID_PAYLOAD)
