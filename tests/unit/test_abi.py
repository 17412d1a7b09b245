"""The ABI: strict arguments, JSON forms and the document, all from the annotations."""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pytest

from ledger.block import Event
from ledger.errors import BadEncodingError, InvalidInputError
from ledger.policy import format_address
from ledger.transaction import Call
from ledger.types import Address, Motes
from tests.vm_harness import Chain, account
from tests.vm_toys import Colour, Inner, Outer, Toy, ToyError
from vm.abi_json import (
    args_from_json,
    call_to_json,
    event_to_json,
    receipt_to_json,
    untyped_to_json,
    value_from_json,
    value_to_json,
)
from vm.abi_types import I64, U8, U32, U64, Bounds, Bytes, Bytes32, SignedMotes, Text, type_spec
from vm.contract import Context, Contract, Item, Map, read, write
from vm.contracts.asset import Asset, Balance
from vm.errors import ContractError
from vm.registry import default_registry

ALICE = account("alice").address
SNAPSHOT = Path(__file__).parent.parent / "vectors" / "asset_abi.json"


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (bool, [True, False], [0, 1, None]),
        (U8, [0, 255], [256, -1, True, "1", None]),
        (U32, [0, 2**32 - 1], [2**32, b"1"]),
        (U64, [0, 2**64 - 1], [2**64, -1]),
        (I64, [-(2**63), 2**63 - 1], [2**63, -(2**63) - 1]),
        (Motes, [0, 2**64 - 1], [-1, 2**64, "1", True]),
        (SignedMotes, [-5, 5], [2**63]),
        (Address, [ALICE], [ALICE[:-1], b"\x07" + ALICE[1:], "datr1", None]),
        (Bytes, [b"", b"x" * 65_536], [b"x" * 65_537, "x", bytearray(b"x")]),
        (Bytes32, [bytes(32)], [bytes(31), bytes(33)]),
        (Text, ["", "x" * 256], ["x" * 257, b"x"]),
        (Colour, ["red"], ["green", 1, ["red"]]),
        (tuple[U8, ...], [(), (1, 2)], [(256,), [1], 1, (0,) * 1_025]),
        (Annotated[tuple[U8, ...], Bounds(1, 2)], [(1,), (1, 2)], [(), (1, 2, 3)]),
        (tuple[U8, Text], [(1, "a")], [(1,), (1, "a", 2), ("a", 1)]),
        (U8 | None, [None, 3], [256, "3"]),
        (Inner, [("red", None), ("blue", 2)], [("red",), ("red", 2, 3), ("green", 1), None, ["red", None]]),
        (None, [None], [0, False, ()]),
    ],
)
def test_strict_decoding(hint: Any, good: list[Any], bad: list[Any]) -> None:
    """Each type takes its own values and refuses every other, bounds included; what it takes survives the way back."""
    spec = type_spec(hint)
    for value in good:
        assert spec.encode(spec.decode(value)) == value
        assert spec.encode(spec.from_state(value)) == value
    for value in bad:
        with pytest.raises(BadEncodingError):
            spec.decode(value)


@pytest.mark.parametrize("value", [0, "red", None, Balance(Motes(1), Motes(2), Motes(3))])
def test_encoding_checks_what_contracts_hand_over(value: Any) -> None:
    """A struct or enum field given something else is refused, not stored."""
    with pytest.raises(BadEncodingError):
        type_spec(Inner).encode(Inner(value, None))
    if value != "red":
        with pytest.raises(BadEncodingError):
            type_spec(Inner).encode(value)


@dataclass
class Thawed:
    """A mutable dataclass."""

    number: U32


@pytest.mark.parametrize(
    "hint", [int, str, bytes, float, list[U8], dict[str, int], Thawed, U8 | Text, Annotated[bool, Bounds(0, 1)], Any]
)
def test_types_that_contracts_cannot_use(hint: Any) -> None:
    """Unbounded, unordered or mutable types are refused when the contract is defined."""
    with pytest.raises(TypeError):
        type_spec(hint)


OUTER = Outer((Inner(Colour.RED, None), Inner(Colour.BLUE, 7)), (True, b"\x01\xff"), ALICE, Motes(150))
OUTER_JSON = {
    "parts": [{"colour": "red", "tag": None}, {"colour": "blue", "tag": 7}],
    "pair": [True, "0x01ff"],
    "owner": format_address(ALICE),
    "price": "150",
}


def test_json_both_ways() -> None:
    """JSON and canonical forms of a nested type are each other's inverse."""
    spec = type_spec(Outer)
    value = spec.encode(OUTER)
    assert value_to_json(spec, value) == OUTER_JSON
    assert value_from_json(spec, json.loads(json.dumps(OUTER_JSON))) == value


@pytest.mark.parametrize(
    ("hint", "data"),
    [
        (Motes, 5),
        (Motes, "5.0"),
        (Motes, "05"),
        (Motes, "-1"),
        (Motes, "1" * 5_000),
        (Motes, "\u0661"),
        (SignedMotes, "-0"),
        (Bytes, "0x1"),
        (Bytes, "01"),
        (Bytes, "0xzz"),
        (Bytes32, "0x00"),
        (Address, "datr1nonsense"),
        (Address, 5),
        (U32, 1.0),
        (U32, "1"),
        (U32, True),
        pytest.param(U64, 10**5_000, id="U64-huge"),
        (Text, {}),
        (bool, 1),
        (Colour, "green"),
        (tuple[U8, ...], {"0": 1}),
        (tuple[U8, ...], [0] * 1_025),
        (tuple[U8, U8], [1]),
        (Inner, {"colour": "red"}),
        (Inner, {"colour": "red", "tag": None, "more": 1}),
        (Inner, ["red", None]),
    ],
)
def test_json_that_is_refused(hint: Any, data: Any) -> None:
    with pytest.raises(BadEncodingError):
        value_from_json(type_spec(hint), data)


def test_arguments_by_name_and_by_position() -> None:
    method = default_registry().method("asset", "transfer")
    named = args_from_json(method, {"amount": "5", "to": format_address(ALICE)})
    assert named == args_from_json(method, [format_address(ALICE), "5"]) == (ALICE, 5)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"to": "x"}, "need to, amount"),
        ({"to": "x", "amount": "1", "memo": ""}, "memo"),
        ([], "0 positional"),
        ([1, 2, 3], "3 positional"),
        ({"to": format_address(ALICE), "amount": 5}, "argument amount"),
    ],
)
def test_arguments_that_do_not_fit_say_which(params: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words) as caught:
        args_from_json(default_registry().method("asset", "transfer"), params)
    assert caught.value.failure_code == "BAD_ARGUMENTS"


def test_receipt_event_and_call_as_json() -> None:
    chain = Chain({"toy": Toy}, genesis={"toy": (1,)})
    alice = chain.account("alice", 1_000)
    calls = (chain.call(Asset.transfer, ALICE, Motes(5)), chain.call(Toy.keep, OUTER))
    receipt = chain.block(chain.transaction(alice, *calls)).receipts[0]
    shown = receipt_to_json(chain.registry, receipt, calls)
    address = format_address(ALICE)
    fields = {"sender": address, "recipient": address, "amount": "5"}
    assert shown == {
        "kind": "transaction",
        "id": "0x" + receipt.id.hex(),
        "status": "succeeded",
        "gas_used": receipt.gas_used,
        "results": [None, OUTER_JSON],
        "events": [{"contract": "asset", "name": "Transferred", "fields": fields}],
        "error": None,
    }
    json.dumps(shown)
    assert receipt_to_json(chain.registry, receipt)["results"][1] == untyped_to_json(receipt.results[1])
    assert call_to_json(chain.registry, calls[0]) == {
        "contract": "asset",
        "method": "transfer",
        "args": {"to": address, "amount": "5"},
    }
    failed = chain.send(alice, Toy.note_and_fail, "k", 3)
    error = receipt_to_json(chain.registry, failed)["error"]
    assert error == {"contract": "toy", "code": "TOLD_TO_FAIL", "message": f"{ToyError.TOLD_TO_FAIL.value}: value 3"}


def test_what_the_abi_does_not_know_is_not_shown() -> None:
    registry = default_registry()
    with pytest.raises(ContractError, match="no such event"):
        event_to_json(registry, Event("asset", "Melted", ()))
    with pytest.raises(ContractError, match="no such contract"):
        event_to_json(registry, Event("mint", "Minted", ()))
    with pytest.raises(ContractError, match="arguments"):
        call_to_json(registry, Call("asset", "transfer", (ALICE,)))


def test_asset_abi_snapshot() -> None:
    """The published interface of the native asset; a change here is a change for every wallet.

    To accept one: `python -m tests.unit.test_abi`.
    """
    document = default_registry().abi("asset")
    assert document == json.loads(SNAPSHOT.read_text())


def test_document_carries_docs_of_parts() -> None:
    document = Chain({"toy": Toy}, genesis={"toy": (1,)}).registry.abi("toy")
    note = next(method for method in document["methods"] if method["name"] == "note")
    assert note["doc"] == "Write a note. Emits Noted."
    assert note["params"][0] == {
        "name": "key",
        "type": {"kind": "text", "min_chars": 0, "max_chars": 256},
        "doc": "what it is called",
    }
    assert document["errors"] == [{"code": "TOLD_TO_FAIL", "doc": "it was told to fail"}]
    assert [item["name"] for item in document["storage"]] == ["notes", "outers", "last"]


class _WrongError(StrEnum):
    NEVER = "never"


def test_contracts_that_cannot_be_defined() -> None:
    """Mistakes of an author show when the module is imported, not on the chain."""
    with pytest.raises(TypeError, match="must be a Map or an Item"):

        class Attribute(Contract):
            count: U32

    with pytest.raises(TypeError, match="annotate"):

        class Untyped(Contract):
            @write
            def act(self, ctx: Context, amount) -> None:  # type: ignore[no-untyped-def]
                ...

    with pytest.raises(TypeError, match="defaults"):

        class Default(Contract):
            @write
            def act(self, ctx: Context, amount: U32 = 1) -> None: ...

    with pytest.raises(TypeError, match="which it does not have"):

        class Lying(Contract):
            @read
            def act(self) -> None:
                """Act.

                Args:
                    amount: not there
                """

    with pytest.raises(TypeError, match="frozen dataclass"):

        class Event(Contract, errors=_WrongError, events=(int,)):
            only: Item[U32]
            many: Map[U32, U32]


def test_the_abi_says_by_which_fields_an_event_is_found() -> None:
    """Nodes index addresses and 32-byte ids in events, also inside structures; amounts and texts they do not."""
    events = {event["name"]: event["fields"] for event in default_registry().abi("asset")["events"]}
    assert {field["name"]: field["indexed"] for field in events["Held"]} == {
        "hold_id": True,
        "owner": True,
        "holder": True,
        "purpose": False,
        "amount": False,
        "deadline_ms": False,
        "symbol": False,
    }


@dataclass(frozen=True, slots=True)
class Span:
    """Two numbers in order."""

    first: U8
    last: U8

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise InvalidInputError("bad_span", "the last must not be before the first", hint="swap them")


def test_parts_that_do_not_go_together_are_refused_like_any_wrong_value() -> None:
    """A structure may refuse its parts; anybody can send such a one, so it must be nothing but a bad argument."""
    assert type_spec(Span).decode((1, 2)) == Span(1, 2)
    with pytest.raises(BadEncodingError, match="must not be before"):
        type_spec(Span).decode((2, 1))


if __name__ == "__main__":
    SNAPSHOT.parent.mkdir(exist_ok=True)
    SNAPSHOT.write_text(json.dumps(default_registry().abi("asset"), indent=1) + "\n")
