"""The oRPC envelope (https://orpc.unnoq.com, RPC protocol of @orpc/client 1.x): `{"json": input, "meta": [...]}`.

`meta` says which strings stand for values that JSON lacks. The only one that an input of ours can hold is a bigint,
type 0; of everything else the JSON value is judged as it is, and refused where it does not fit.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs

import msgspec

from gateway.errors import invalid
from gateway.protocol import complaint

BIGINT = 0
_digits = re.compile(r"-?\d{1,20}").fullmatch


class _Envelope(msgspec.Struct):
    json: msgspec.Raw = msgspec.Raw(b"{}")
    meta: list[list[int | str]] = []


_decode = msgspec.json.Decoder(_Envelope).decode


def unwrap(body: bytes) -> bytes:
    """The input in an envelope. Raises Problem when there is none."""
    if not body:
        return b"{}"
    try:
        envelope = _decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise complaint(error) from error
    if not envelope.meta:
        return bytes(envelope.json)
    try:
        value = msgspec.json.decode(envelope.json)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise complaint(error) from error
    for each in envelope.meta:
        if not each:
            raise invalid("meta", "an entry says nothing")
        if each[0] == BIGINT:
            value = _with_integer(value, each[1:])
    return msgspec.json.encode(value)


def from_query(query: bytes) -> bytes:
    """The input of a GET: `?data=` and the envelope."""
    data = parse_qs(query.decode("latin-1")).get("data", [""])[0]
    return unwrap(data.encode("utf-8", "surrogatepass"))


def _with_integer(value: Any, path: list[int | str]) -> Any:
    """`value`, with the string of digits at `path` made an integer."""
    if not path:
        if isinstance(value, str) and _digits(value):
            return int(value)
        raise invalid("meta", "names a bigint that is none")
    key = path[0]
    try:
        value[key] = _with_integer(value[key], path[1:])
    except (KeyError, IndexError, TypeError):
        raise invalid("meta", "names a place that is not there") from None
    return value
