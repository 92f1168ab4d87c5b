"""Check payloads by the schemas that live workers serve, before the 202.

A small payload is checked on the event loop, in about a microsecond more than its parsing took; a large one in the
thread that parses large bodies.
"""

from collections import OrderedDict
from typing import Any

import msgspec

from acked_common.background.schema_cache import SchemaCache
from acked_common.http import fair_thread
from acked_common.http.fair_thread import ON_LOOP_BYTES
from acked_common.http.limits import Client
from acked_common.http.problems import ErrorAt, ProblemError, problem
from acked_common.model.payload_faults import PayloadFault, fault_of
from acked_common.model.payload_schemas import PayloadSchema, ServedSchemas, parsed
from acked_common.model.payload_types import UnusableSchema, type_of
from acked_common.runtime.logs import get_log
from acked_common.store.records import KindRecord

log = get_log(__name__)

TYPES_KEPT = 512
"""The maximum of schemas whose types are kept; they take about 10 KiB each."""

_decode = msgspec.json.Decoder().decode


class SchemaDecoder:
    """What one schema accepts."""

    def __init__(self, schema: PayloadSchema) -> None:
        """Raise `UnusableSchema`."""
        self._schema = parsed(schema.text)
        self._type: Any = type_of(self._schema)
        self._decode = msgspec.json.Decoder(self._type).decode

    def accepts(self, payload: bytes) -> bool:
        """Return whether the JSON text is of the type."""
        try:
            self._decode(payload)
        except msgspec.ValidationError:
            return False
        return True

    def fault(self, payload: bytes) -> PayloadFault | None:
        """Return the first fault of a text; None if it is of the type."""
        value = _decode(payload)
        try:
            self._convert(value)
        except msgspec.ValidationError as error:
            return fault_of(str(error), value, self._convert, self._schema)
        return None

    def _convert(self, value: object) -> object:
        return msgspec.convert(value, self._type, str_keys=True)


class PayloadCheck:
    """Checks the payloads of kinds whose live workers all have a schema."""

    def __init__(self, schemas: SchemaCache) -> None:
        self._schemas = schemas
        self._types: OrderedDict[str, SchemaDecoder | None] = OrderedDict()

    async def refusal(self, payload: bytes, kind: KindRecord, *, client: Client = None) -> ProblemError | None:
        """Return the 422 for a payload that no live worker takes; None for all others.

        Until the workers were read once, the first callers wait for that. Raises `StoreError`.
        """
        if not kind.schemas:
            return None
        if not self._schemas.is_read:
            kind = await self._schemas.look_again(kind.name) or kind
        served = self._schemas.served(kind)
        if not served.is_checked:
            return None
        if len(payload) <= ON_LOOP_BYTES:
            return self._check(payload, kind, served)
        return await fair_thread.quick.run(client, lambda: self._check(payload, kind, served))

    async def look_again(self, payload: bytes, kind: KindRecord, *, client: Client = None) -> ProblemError | None:
        """Return as `refusal` does, after reading again which schemas count. Raises `StoreError`."""
        found = await self._schemas.look_again(kind.name)
        return None if found is None else await self.refusal(payload, found, client=client)

    def _check(self, payload: bytes, kind: KindRecord, served: ServedSchemas) -> ProblemError | None:
        types = [self._type(kind, schema) for schema in served.schemas]
        if any(of is None or of.accepts(payload) for of in types):
            return None
        faults = [of.fault(payload) for of in types if of is not None]
        found = [fault for fault in faults if fault is not None]
        return _refusal(found, kind, served) if len(found) == len(types) else None

    def _type(self, kind: KindRecord, schema: PayloadSchema) -> SchemaDecoder | None:
        """Return the type of a schema, made once; None if intake can't use the schema, and so accepts all."""
        if schema.digest in self._types:
            return self._types[schema.digest]
        try:
            made: SchemaDecoder | None = SchemaDecoder(schema)
        except UnusableSchema as error:
            log.warning(
                "payloads are not checked by this schema: it is not one of this version's workers",
                kind=kind.name,
                version=schema.version,
                reason=str(error),
            )
            made = None
        self._types[schema.digest] = made
        if len(self._types) > TYPES_KEPT:
            self._types.popitem(last=False)
        return made


def _refusal(faults: list[PayloadFault], kind: KindRecord, served: ServedSchemas) -> ProblemError:
    """Return the problem, with the fault by each version that is served, the newest first."""
    several = len(faults) > 1
    errors: list[ErrorAt] = []
    for fault, schema in zip(faults, served.schemas, strict=True):
        of = f" (version {schema.version})" if several else ""
        errors.append({"pointer": f"/payload{fault.pointer}", "detail": f"{fault.detail}{of}"})
    first = errors[0]
    detail = f"{first['pointer'][1:]} {first['detail']}, by the schema of kind {kind.name!r}"
    if several:
        detail += f"; none of the {len(faults)} versions that workers serve now accepts the payload"
    return ProblemError(problem("invalid-field", f"{detail}. Nothing was stored", errors=errors))
