"""JSON-RPC 2.0 (jsonrpc.org/specification): bytes to checked requests, results and errors to bytes. Pure.

Requests are read with the standard library's parser: on large requests it is as fast as orjson, it tells integers from fractions
whatever their length, and it sees a key that stands twice. Answers are written with orjson.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from json.decoder import JSONDecoder
from typing import Any, ClassVar, Final, NoReturn, TypeAlias

import orjson

from ledger.errors import DatacarError, TooLargeError
from vm.strict_json import show

Json: TypeAlias = Any
"""A JSON value: dict, list, str, int, bool, None, or in requests a `BadNumber`."""
RequestId: TypeAlias = str | int | None

MAX_BATCH: Final = 100
MAX_VALUES: Final = 20_000
MAX_ID_CHARS: Final = 128
MAX_METHOD_CHARS: Final = 64
INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**64 - 1

_MAX_INT_CHARS: Final = 20
_REQUEST_KEYS: Final = frozenset({"jsonrpc", "method", "params", "id"})


class RequestError(DatacarError):
    """The request is wrong as JSON-RPC; each subclass is one of the specification's codes."""

    default_reason: ClassVar[str] = "bad_encoding"

    def __init__(self, message: str, *, hint: str, **details: object) -> None:
        super().__init__(self.default_reason, message, hint=hint, **details)


class ParseError(RequestError):
    """The body is not JSON."""

    code = -32700


class InvalidRequestError(RequestError):
    """The JSON is not a request object."""

    code = -32600


class MethodNotFoundError(RequestError):
    """There is no such method here."""

    code = -32601
    default_reason = "not_found"


class InvalidParamsError(RequestError):
    """A parameter is missing, unknown or of the wrong form."""

    code = -32602


class InternalError(RequestError):
    """A defect of the node: what happened is in its log, not in the answer."""

    code = -32603
    default_reason = "internal_error"

    def __init__(self) -> None:
        super().__init__("the node failed to answer", hint="this is a defect: the node's log has the details")


@dataclass(frozen=True, slots=True)
class BadNumber:
    """A number that no parameter takes: a fraction, or an integer outside 64 bits. Kept so that the refusal names its place."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Request:
    """A well-formed request. A notification gets no answer, not even an error."""

    id: RequestId
    method: str
    params: Mapping[str, Json] | list[Json]
    is_notification: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """What stood in the place of a request, and why it is none."""

    id: RequestId
    error: DatacarError


@dataclass(frozen=True, slots=True)
class Message:
    """A body: one item, or a batch of up to `MAX_BATCH` which is answered as an array."""

    items: tuple[Request | Refusal, ...]
    is_batch: bool


def parse(body: bytes) -> Message:
    """Return the requests in a body; whatever the bytes are, wrong ones come back as `Refusal`s with their coded error."""
    try:
        document = _load(body)
    except DatacarError as error:
        return Message((Refusal(None, error),), is_batch=False)
    if not isinstance(document, list):
        return Message((_request(document),), is_batch=False)
    if not document:
        empty = InvalidRequestError("the batch is empty", hint="put 1 to 100 requests into it")
        return Message((Refusal(None, empty),), is_batch=False)
    if len(document) > MAX_BATCH:
        return Message((Refusal(None, TooLargeError("batch", limit=MAX_BATCH, got=len(document))),), is_batch=False)
    return Message(tuple(_request(item) for item in document), is_batch=True)


def result_object(request_id: RequestId, result: Json) -> Json:
    """Return the response object of a result."""
    return {"jsonrpc": "2.0", "id": request_id, "result": result}


def error_object(request_id: RequestId, error: DatacarError) -> Json:
    """Return the response object of an error."""
    return {"jsonrpc": "2.0", "id": request_id, "error": error_body(error)}


def error_body(error: DatacarError) -> Json:
    """Return what stands under `error`: code, message and data {reason, hint, the numbers}."""
    return {"code": error.code, "message": error.message, "data": error.data()}


def dump(value: Json) -> bytes:
    """Return the bytes of an answer; bytes in an error's numbers become 0x hex, other objects text."""
    return orjson.dumps(value, default=_plain)


def _plain(value: object) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)


def _load(body: bytes) -> Json:
    """Return the JSON document; raises `ParseError`, or `TooLargeError` for more values than a request can need."""
    # Counting is a hundred times cheaper than parsing: it bounds the time and memory that small values can cost.
    if (values := body.count(b",") + body.count(b"[") + body.count(b"{")) > MAX_VALUES:
        raise TooLargeError("number of JSON values in the request", limit=MAX_VALUES, got=values)
    try:
        text = body.decode()
        document = _DECODER.decode(text)
        if "\\u" in text:
            text.encode()
            orjson.dumps(document, default=str)
    except UnicodeDecodeError as error:
        raise _parse_error("the body is not UTF-8", offset=error.start) from None
    except json.JSONDecodeError as error:
        raise _parse_error(error.msg, offset=error.pos) from None
    except ValueError as error:
        raise _parse_error(str(error)) from None
    except RecursionError:
        raise _parse_error("values are nested too deep") from None
    except TypeError:  # orjson's word for text that UTF-8 cannot carry
        raise _parse_error("text holds a lone surrogate") from None
    return document


def _parse_error(problem: str, **details: object) -> ParseError:
    return ParseError(f"not valid JSON: {problem}", hint="send one JSON-RPC 2.0 request object, or an array of them", **details)


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """Build an object, refusing a key given twice: which one would count?"""
    members = dict(pairs)
    if len(members) != len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {show(twice)} stands twice in one object")
    return members


def _integer(digits: str) -> int | BadNumber:
    if len(digits) > _MAX_INT_CHARS:
        return BadNumber(f"an integer of {len(digits)} characters")
    number = int(digits)
    return number if INT_MIN <= number <= INT_MAX else BadNumber(f"the integer {digits}")


def _fraction(text: str) -> BadNumber:
    return BadNumber(f"the fraction {text[:24]}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


_DECODER: Final = JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_fraction, parse_constant=_refuse_constant
)


def _request(document: Json) -> Request | Refusal:
    """Return the request in one object, or its refusal with the id if there is a usable one."""
    if not isinstance(document, dict):
        return Refusal(None, _invalid(f"a request must be an object, got {show(document)}"))
    request_id = document.get("id")
    if not _is_id(request_id):
        return Refusal(None, _invalid(f"id must be text of at most {MAX_ID_CHARS} characters, an integer or null"))
    problem = _problem(document)
    if problem is not None:
        return Refusal(request_id, _invalid(problem))
    return Request(request_id, document["method"], document.get("params", {}), is_notification="id" not in document)


def _is_id(value: Json) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_ID_CHARS
    return value is None or type(value) is int


def _problem(document: dict[str, Json]) -> str | None:
    """Return what keeps an object from being a request."""
    if document.get("jsonrpc") != "2.0":
        return 'jsonrpc must be "2.0"'
    method = document.get("method")
    if not isinstance(method, str) or not 0 < len(method) <= MAX_METHOD_CHARS:
        return f"method must be text of 1 to {MAX_METHOD_CHARS} characters"
    if not isinstance(document.get("params", {}), dict | list):
        return "params must be an object or an array"
    if unknown := document.keys() - _REQUEST_KEYS:
        return f"unknown member {show(min(unknown))} beside jsonrpc, method, params and id"
    return None


def _invalid(problem: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"not a request: {problem}", hint='send {"jsonrpc": "2.0", "id": 1, "method": ..., "params": {...}}'
    )
