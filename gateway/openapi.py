"""The description of the HTTP side, made from the same types that decode it (OpenAPI 3.1)."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.errors import ROWS
from gateway.procedures import PROCEDURES, Procedure

_ALWAYS = (
    "COUNTER_VALIDATION_ERROR",
    "FORBIDDEN",
    "METHOD_NOT_SUPPORTED",
    "PAYLOAD_TOO_LARGE",
    "UNSUPPORTED_MEDIA_TYPE",
    "COUNTER_OPERATION_FAILED",
    "UNAVAILABLE",
)

_ERROR = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "data", "retryable"],
            "additionalProperties": False,
            "properties": {
                "code": {"type": "string", "enum": sorted(ROWS)},
                "message": {"type": "string"},
                "data": {"type": ["object", "null"]},
                "retryable": {"type": "boolean"},
            },
        }
    },
}

_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Names the operation. Sent again with the same key, it is answered with its first result.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]([ -~]*[!-~])?$"},
}


def describe(version: str) -> dict[str, Any]:
    """The whole document."""
    types: list[Any] = [each for p in PROCEDURES.values() for each in (p.input, p.output)]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    paths = {
        f"/rpc/{procedure.name}": {"post": _operation(procedure, schemas[2 * i], schemas[2 * i + 1])}
        for i, procedure in enumerate(PROCEDURES.values())
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Durable Counters",
            "version": version,
            "description": "Live, shared, durable counters by name. The same procedures speak oRPC at /rpc.",
        },
        "paths": paths,
        "components": {"schemas": {**components, "Error": _ERROR}},
    }


def _operation(procedure: Procedure, input: dict[str, Any], output: dict[str, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "Done", "content": _json(output)}}
    for code in (*procedure.errors, *_ALWAYS):
        row = ROWS[code]
        known = responses.get(str(row.status))
        description = code if known is None else f"{known['description']}, {code}"
        responses[str(row.status)] = {
            "description": description,
            "content": _json({"$ref": "#/components/schemas/Error"}),
        }
    described: dict[str, Any] = {
        "operationId": procedure.name.rpartition(".")[2],
        "summary": procedure.summary,
        "requestBody": {"required": True, "content": _json(input)},
        "responses": responses,
    }
    if procedure.local:
        described["description"] = "Only for programs on the gateway's own machine, and not through a proxy."
    elif procedure.changes:
        described["parameters"] = [_KEY]
    return described


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
