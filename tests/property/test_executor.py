"""Properties of execution for any block: both modes agree, failures leave nothing, order of reading does not matter."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.block import Receipt, Status
from ledger.codec import decode, encode
from ledger.errors import BadEncodingError
from ledger.store import MemoryStore
from ledger.transaction import Call
from ledger.types import Motes
from tests.vm_harness import Chain, account
from tests.vm_toys import Outer, Toy
from vm.abi_json import value_from_json, value_to_json
from vm.abi_types import type_spec
from vm.contracts.asset import Asset
from vm.errors import InvalidEntryError
from vm.overlay import Overlay

PEOPLE = [account(name) for name in ("alice", "bob", "carl")]
KEYS = [b"a", b"b", b"c"]

keys = st.sampled_from(["a", "b"])
calls = st.one_of(
    st.tuples(st.just(Toy.note), keys, st.integers(0, 9)),
    st.tuples(st.just(Toy.note_and_fail), keys, st.integers(0, 9)),
    st.tuples(st.just(Toy.forget), keys),
    st.tuples(st.just(Toy.swallow), keys),
    st.tuples(st.just(Toy.ids), st.integers(0, 3)),
    st.tuples(st.just(Asset.transfer), st.sampled_from([each.address for each in PEOPLE]), st.integers(0, 90_000).map(Motes)),
)
plans = st.lists(
    st.tuples(st.sampled_from(PEOPLE), st.lists(calls, min_size=1, max_size=3), st.integers(10_000, 120_000)), max_size=8
)


@settings(max_examples=60, deadline=None)
@given(plan=plans, price=st.sampled_from([0, 1]))
def test_build_and_execute_agree_and_failures_leave_nothing(plan: list[Any], price: int) -> None:
    """What `build` includes, `execute` takes with the same result; what it refuses makes a proposal invalid."""
    chain = Chain({"toy": Toy}, genesis={"toy": (0,)})
    for person in PEOPLE:
        chain.account(person.name, 150_000)
    chain.context = replace(chain.context, gas_price_motes=price)
    candidates = [
        chain.transaction(sender, *(chain.call(*call) for call in parts), gas_limit=limit) for sender, parts, limit in plan
    ]
    built = chain.executor.build(chain.state, chain.context, candidates, 100, 10**6)
    assert len(built.included) + len(built.refused) == len(candidates)
    assert chain.executor.execute(chain.state, chain.context, built.included) == built.execution
    if built.refused:
        with pytest.raises(InvalidEntryError) as caught:
            chain.executor.execute(chain.state, chain.context, candidates)
        assert candidates[caught.value.index] == built.refused[0][0]
    receipts = built.execution.receipts
    assert built.execution.gas_used == sum(receipt.gas_used for receipt in receipts)
    assert all(receipt.gas_used <= tx.body.gas_limit for receipt, tx in zip(receipts, built.included, strict=True))
    assert all(Receipt.from_value(decode(encode(receipt.to_value()))) == receipt for receipt in receipts)
    if price == 0:
        good = [tx for tx, receipt in zip(built.included, receipts, strict=True) if receipt.status is Status.SUCCEEDED]
        alone = chain.executor.execute(chain.state, chain.context, good)
        assert alone.changes == built.execution.changes
    chain.block(*built.included)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(KEYS), st.none() | st.binary(max_size=2)),
        st.tuples(st.just("mark")),
        st.tuples(st.just("rollback")),
        st.tuples(st.just("seal")),
    ),
    max_size=40,
)


@given(steps=steps)
def test_overlay_is_a_dict_with_undo(steps: list[Any]) -> None:
    base = {b"a": b"0", b"b": b"1"}
    overlay = Overlay(MemoryStore(base))
    model: dict[bytes, bytes | None] = {}
    marks: list[tuple[int, dict[bytes, bytes | None]]] = []
    for step in steps:
        match step:
            case ("put", key, value):
                overlay.put(key, value)
                model[key] = value
            case ("mark",):
                marks.append((overlay.mark(), dict(model)))
            case ("rollback",) if marks:
                mark, model = marks.pop()
                overlay.rollback(mark)
            case ("seal",):
                overlay.seal()
                marks.clear()
        assert overlay.changes == model
        assert [overlay.get(key) for key in KEYS] == [model.get(key, base.get(key)) for key in KEYS]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**64 - 1) | st.binary(max_size=34) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=12,
)
shapes = st.sampled_from([Outer, tuple[Motes, ...], Outer | None, tuple[bool, bool]])


@given(shape=shapes, value=values)
def test_any_value_is_taken_exactly_or_refused(shape: Any, value: Any) -> None:
    """A decoder never breaks on strange arguments, and what it takes is the one encoding of what it returns."""
    spec = type_spec(shape)
    try:
        taken = spec.decode(value)
    except BadEncodingError:
        return
    assert spec.encode(taken) == value
    assert value_from_json(spec, value_to_json(spec, value)) == value


@settings(max_examples=50, deadline=None)
@given(args=st.lists(values, max_size=3).map(tuple), method=st.sampled_from(["note", "keep", "pay", "ids", "hold"]))
def test_strange_arguments_are_failed_receipts(args: tuple[Any, ...], method: str) -> None:
    """No arguments that a transaction can carry make the executor raise."""
    chain = Chain({"toy": Toy}, genesis={"toy": (0,)})
    receipt = chain.block(chain.transaction(PEOPLE[0], Call("toy", method, args))).receipts[0]
    assert receipt.status is Status.SUCCEEDED or (receipt.error is not None and receipt.error.code != "CONTRACT_DEFECT")
