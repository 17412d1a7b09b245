"""JSON-RPC parsing: every malformed body gets its own code, reason and id, and nothing gets past that later code must fear."""

import json

import pytest

from ledger.errors import DatacarError, TooLargeError
from node.rpc import jsonrpc
from node.rpc.jsonrpc import BadNumber, InternalError, Refusal, Request


def single(body: bytes) -> Request | Refusal:
    message = jsonrpc.parse(body)
    assert not message.is_batch
    return message.items[0]


def request(**members: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 7, "method": "m"} | members).encode()


MALFORMED = [
    (b"", -32700, "bad_encoding", None),
    (b"nonsense", -32700, "bad_encoding", None),
    (b'{"jsonrpc": "2.0", "id": 1', -32700, "bad_encoding", None),
    (b"\xff\xfe{}", -32700, "bad_encoding", None),
    (b"[" * 100_000, -32000, "too_large", None),
    (b"[" * 10_000 + b"]" * 10_000, -32700, "bad_encoding", None),
    (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, -32700, "bad_encoding", None),
    (b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"x":NaN}}', -32700, "bad_encoding", None),
    (b'{"jsonrpc":"2.0","id":1,"method":"m","params":[-Infinity]}', -32700, "bad_encoding", None),
    (b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"x":1,"x":2}}', -32700, "bad_encoding", None),
    (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}', -32700, "bad_encoding", None),
    (b'{"jsonrpc":"2.0","id":1,"method":"m","params":["\\ud800"]}', -32700, "bad_encoding", None),
    (b"[]", -32600, "bad_encoding", None),
    (b"1", -32600, "bad_encoding", None),
    (b'"text"', -32600, "bad_encoding", None),
    (b"null", -32600, "bad_encoding", None),
    (b"9" * 5_000, -32600, "bad_encoding", None),
    (b"{}", -32600, "bad_encoding", None),
    (request(jsonrpc="1.0"), -32600, "bad_encoding", 7),
    (request(jsonrpc=2.0), -32600, "bad_encoding", 7),
    (request(method=5), -32600, "bad_encoding", 7),
    (request(method=""), -32600, "bad_encoding", 7),
    (request(method="m" * 65), -32600, "bad_encoding", 7),
    (request(params="p"), -32600, "bad_encoding", 7),
    (request(params=None), -32600, "bad_encoding", 7),
    (request(param=[]), -32600, "bad_encoding", 7),
    (request(id=1.5), -32600, "bad_encoding", None),
    (request(id=True), -32600, "bad_encoding", None),
    (request(id=2**64), -32600, "bad_encoding", None),
    (request(id=[1]), -32600, "bad_encoding", None),
    (request(id="x" * 129), -32600, "bad_encoding", None),
    (b"[" + b",".join([b"1"] * 101) + b"]", -32000, "too_large", None),
]


@pytest.mark.parametrize(("body", "code", "reason", "request_id"), MALFORMED)
def test_malformed_bodies_get_their_code(body: bytes, code: int, reason: str, request_id: object) -> None:
    refusal = single(body)
    assert isinstance(refusal, Refusal)
    assert (refusal.error.code, refusal.error.reason, refusal.id) == (code, reason, request_id)
    answer = json.loads(jsonrpc.dump(jsonrpc.error_object(refusal.id, refusal.error)))
    assert answer["error"]["data"]["reason"] == reason
    assert answer["error"]["data"]["hint"]
    assert len(answer["error"]["message"]) < 400  # what was sent is never echoed at length


def test_a_batch_over_the_limit_says_the_numbers() -> None:
    refusal = single(b"[" + b",".join([b"{}"] * 101) + b"]")
    assert isinstance(refusal, Refusal)
    assert (refusal.error.details["limit"], refusal.error.details["got"]) == (100, 101)


def test_values_are_bounded_before_they_are_parsed() -> None:
    refusal = single(b"[" + b"[]," * jsonrpc.MAX_VALUES + b"[]]")
    assert isinstance(refusal, Refusal)
    assert isinstance(refusal.error, TooLargeError)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", 5),
        (str(2**64 - 1), 2**64 - 1),
        (str(-(2**63)), -(2**63)),
        (str(2**64), BadNumber("the integer 18446744073709551616")),
        ("9" * 5_000, BadNumber("an integer of 5000 characters")),
        ("1.0", BadNumber("the fraction 1.0")),
        ("1e400", BadNumber("the fraction 1e400")),
    ],
)
def test_numbers_are_exact_or_marked(text: str, expected: object) -> None:
    """orjson would make a float of 2^64 and lose its last digits; here the request survives and the parameter is refused."""
    found = single(b'{"jsonrpc":"2.0","id":"a","method":"m","params":{"x":' + text.encode() + b"}}")
    assert isinstance(found, Request)
    assert found.params == {"x": expected}
    assert type(found.params["x"]) is type(expected)


def test_requests_keep_id_method_and_params() -> None:
    assert single(request(params=[1, {"a": None}], id="x")) == Request("x", "m", [1, {"a": None}], is_notification=False)
    assert single(request()) == Request(7, "m", {}, is_notification=False)


def test_only_an_absent_id_makes_a_notification() -> None:
    assert single(b'{"jsonrpc":"2.0","method":"m"}') == Request(None, "m", {}, is_notification=True)
    assert single(request(id=None)) == Request(None, "m", {}, is_notification=False)


def test_a_batch_keeps_its_good_and_bad_items_in_order() -> None:
    message = jsonrpc.parse(b"[" + request() + b",1," + request(method=None) + b"]")
    assert message.is_batch
    assert [type(item) for item in message.items] == [Request, Refusal, Refusal]
    assert [item.id for item in message.items] == [7, None, 7]


def test_numbers_in_an_error_may_be_bytes_or_objects() -> None:
    error = DatacarError("not_found", "gone", hint="h", key=b"\x01", what=ValueError("x"))
    body = json.loads(jsonrpc.dump(jsonrpc.error_object(1, error)))
    assert body["error"]["data"] == {"reason": "not_found", "hint": "h", "key": "0x01", "what": "x"}


def test_an_internal_error_says_nothing_of_its_cause() -> None:
    assert jsonrpc.error_body(InternalError()) == {
        "code": -32603,
        "message": "the node failed to answer",
        "data": {"reason": "internal_error", "hint": "this is a defect: the node's log has the details"},
    }
