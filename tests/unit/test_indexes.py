"""The index: what a receipt is listed under, places that sort from the newest down, searches, gaps, and forgetting."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.block import Event, ExecutionError, Receipt, ReceiptKind, Status
from ledger.codec import Value
from ledger.policy import KeyPolicy
from ledger.store import MemoryStore
from ledger.transaction import Call, Transaction, TransactionBody
from ledger.types import Address, Height, TxHash, TxId
from node.indexes import (
    EVERY,
    REACH_KEY,
    SWEPT_KEY,
    Entry,
    Indexer,
    Place,
    Reach,
    Search,
    Sweeper,
    index_block,
    newest,
    of_contract,
    of_event,
    of_topic,
    reach_bytes,
    read_reach,
)
from vm.registry import default_registry

REGISTRY = default_registry()
ALICE, BOB, CAROL = (KeyPolicy.single(bytes([number]) * 32) for number in (1, 2, 3))
SESSION = b"s" * 32


def transaction(sender: KeyPolicy, *calls: Call) -> Transaction:
    body = TransactionBody(sender, b"saltsalt", 1, b"chaintag", calls, 1)
    return Transaction(body, (), b"", TxId(b"i" * 32), TxHash(b"h" * 32))


def receipt(*events: Event, kind: ReceiptKind = ReceiptKind.TRANSACTION, failed: bool = False) -> Receipt:
    error = ExecutionError("asset", "BAD_AMOUNT", "no") if failed else None
    return Receipt(kind, b"i" * 32, Status.FAILED if failed else Status.SUCCEEDED, 1, (), events, error)


def transferred(sender: Address, recipient: Address) -> Event:
    return Event("asset", "Transferred", (sender, recipient, 5))


def listed(height: int, transactions: list[Transaction], receipts: list[Receipt], *selectors: bytes) -> list[tuple[int, ...]]:
    """Return (index, event numbers...) of what the selectors find in a block alone."""
    store = MemoryStore(index_block(Height(height), transactions, receipts, REGISTRY))
    found = search(store, selectors, newest(Height(height)), Place(Height(0), 0))
    assert all(entry.place.height == height for entry in found)
    return [(entry.place.index, *entry.events) for entry in found]


def search(store: MemoryStore, selectors: tuple[bytes, ...], start: Place, end: Place) -> list[Entry]:
    run = Search(store, selectors, start, end)
    for _ in range(10_000):
        if run.done:
            assert run.position is None
            assert run.events == sum(len(entry.events) for entry in run.entries)
            return run.entries
        run.step()
    raise AssertionError("a search ends")


class TestWhatIsListed:
    def test_a_transfer_stands_under_both_parties_its_contract_its_event_and_everything(self) -> None:
        block = (
            [transaction(ALICE, Call("asset", "transfer", (BOB.address, 5)))],
            [receipt(transferred(ALICE.address, BOB.address))],
        )
        for selector in (
            of_topic(ALICE.address),
            of_topic(BOB.address),
            of_contract("asset"),
            of_event("asset", "Transferred"),
            EVERY,
        ):
            assert listed(7, *block, selector) == [(0, 0)]
        for selector in (of_topic(CAROL.address), of_contract("charging"), of_event("asset", "Held")):
            assert listed(7, *block, selector) == []

    def test_the_numbers_are_those_of_the_events_that_answer(self) -> None:
        events = [
            transferred(ALICE.address, BOB.address),
            transferred(BOB.address, BOB.address),
            transferred(BOB.address, CAROL.address),
        ]
        block = [transaction(ALICE, Call("asset", "supply", ()))], [receipt(*events)]
        assert listed(7, *block, of_topic(BOB.address)) == [(0, 0, 1, 2)]
        assert listed(7, *block, of_topic(CAROL.address)) == [(0, 2)]
        assert listed(7, *block, of_topic(ALICE.address), of_topic(BOB.address)) == [(0, 0)]
        assert listed(7, *block, of_topic(ALICE.address), of_topic(CAROL.address)) == [(0,)], "in one receipt, in no one event"

    def test_a_failed_call_is_listed_by_its_sender_and_its_arguments(self) -> None:
        block = [transaction(ALICE, Call("asset", "transfer", (BOB.address, 5)))], [receipt(failed=True)]
        assert listed(7, *block, of_topic(BOB.address)) == [(0,)]
        assert listed(7, *block, of_contract("asset")) == [(0,)]

    def test_ids_of_32_bytes_in_events_are_topics_and_money_is_not(self) -> None:
        spec = REGISTRY.entry("charging").spec.event_names["SessionAuthorized"]
        values: list[Value] = [0] * len(spec.fields)
        for at, field in enumerate(spec.fields):
            if field.type.kind == "bytes":
                values[at] = SESSION
            elif field.type.kind == "address":
                values[at] = BOB.address
        event = Event("charging", "SessionAuthorized", tuple(values))
        block = [transaction(ALICE, Call("charging", "authorize", ()))], [receipt(event)]
        assert listed(7, *block, of_topic(SESSION)) == [(0, 0)]
        assert listed(7, *block, of_topic(BOB.address), of_event("charging", "SessionAuthorized")) == [(0, 0)]

    @pytest.mark.parametrize(
        "args",
        [
            (),
            (BOB.address,),
            (BOB.address, 5, 6),
            (5, BOB.address),
            (b"short", 5),
            ((BOB.address,), 5),
            (None, None),
            ("text", b""),
        ],
    )
    def test_arguments_of_any_shape_are_survived(self, args: tuple[Value, ...]) -> None:
        block = [transaction(ALICE, Call("asset", "transfer", args))], [receipt(failed=True)]
        assert listed(7, *block, of_topic(ALICE.address)) == [(0,)]

    @given(st.recursive(st.none() | st.integers() | st.binary(max_size=40), lambda inner: st.lists(inner, max_size=4).map(tuple)))
    def test_nested_arguments_of_any_shape_are_survived(self, value: Value) -> None:
        for name in REGISTRY.names():
            for method in REGISTRY.entry(name).spec.methods.values():
                call = Call(name, method.name, (value,) * len(method.params))
                index_block(Height(1), [transaction(ALICE, call)], [receipt(failed=True)], REGISTRY)

    def test_addresses_are_found_inside_lists_and_structs(self) -> None:
        entry, method = next(
            (name, method)
            for name in REGISTRY.names()
            for method in REGISTRY.entry(name).spec.methods.values()
            if any(
                param.type.kind == "struct" and any(item.kind == "address" for item in param.type.items)
                for param in method.params
            )
        )
        args: list[Value] = []
        for param in method.params:
            items = tuple(BOB.address if item.kind == "address" else None for item in param.type.items)
            args.append(items if param.type.kind == "struct" else None)
        block = [transaction(ALICE, Call(entry, method.name, tuple(args)))], [receipt(failed=True)]
        assert listed(7, *block, of_topic(BOB.address)) == [(0,)]

    def test_unknown_contracts_leave_no_selector_of_their_own(self) -> None:
        calls = Call("nonsense", "x", (BOB.address,)), Call("asset", "nonsense", (BOB.address,))
        block = [transaction(ALICE, *calls)], [receipt(failed=True)]
        assert listed(7, *block, of_contract("nonsense")) == []
        assert listed(7, *block, of_contract("asset")) == [(0,)]

    def test_schedule_entries_have_events_and_no_sender(self) -> None:
        """Transactions keep to their own receipts where others stand between them."""
        scheduled = receipt(transferred(BOB.address, CAROL.address), kind=ReceiptKind.SCHEDULED)
        sent = receipt(transferred(ALICE.address, BOB.address))
        block = [transaction(ALICE, Call("asset", "transfer", (BOB.address, 5)))], [scheduled, sent]
        assert listed(7, *block, of_topic(ALICE.address)) == [(1, 0)]
        assert listed(7, *block, of_topic(CAROL.address)) == [(0, 0)]
        assert listed(7, *block, of_contract("asset")) == [(1, 0), (0, 0)], "the newest first"


places = st.builds(Place, st.integers(0, 2**40 - 1).map(Height), st.integers(0, 2**24 - 1))


class TestPlaces:
    @given(places, places)
    def test_they_sort_from_the_newest_down_and_come_back(self, one: Place, other: Place) -> None:
        later = (one.height, one.index) > (other.height, other.index)
        assert (one.encode() < other.encode()) is later
        assert Place.decode(one.encode()) == one


SELECTORS = (of_topic(b"a" * 33), of_topic(b"b" * 33), of_contract("c"))


class TestSearch:
    @given(
        st.dictionaries(
            st.tuples(st.integers(0, 6), st.integers(0, 3)),
            st.lists(st.frozensets(st.integers(0, 3)) | st.none(), min_size=3, max_size=3),
        ),
        st.sets(st.sampled_from(SELECTORS), min_size=1),
        st.tuples(st.integers(0, 6), st.integers(0, 4)),
        st.integers(0, 6),
    )
    def test_it_finds_what_looking_at_everything_finds(
        self,
        receipts: dict[tuple[int, int], list[frozenset[int] | None]],
        asked: set[bytes],
        start: tuple[int, int],
        low: int,
    ) -> None:
        """Each receipt's events under three selectors (None: not listed there); any of them may be asked for together."""
        store = MemoryStore()
        expected = []
        for (height, index), events in sorted(receipts.items(), reverse=True):
            place = Place(Height(height), index)
            for selector, numbers in zip(SELECTORS, events, strict=True):
                if numbers is not None:
                    store.apply({selector + place.encode(): b"".join(number.to_bytes(2) for number in sorted(numbers))})
            here = [numbers for selector, numbers in zip(SELECTORS, events, strict=True) if selector in asked]
            if None not in here and start >= (height, index) and height >= low:
                common = frozenset.intersection(*[numbers for numbers in here if numbers is not None])
                expected.append(Entry(place, tuple(sorted(common))))
        assert search(store, tuple(asked), Place(Height(start[0]), start[1]), Place(Height(low), 0)) == expected

    def test_it_goes_on_from_where_it_stood(self) -> None:
        store = MemoryStore({EVERY + Place(Height(height), 0).encode(): b"" for height in range(10)})
        run = Search(store, [EVERY], newest(Height(9)), Place(Height(0), 0))
        for _ in range(4):
            run.step()
        assert [entry.place.height for entry in run.entries] == [9, 8, 7, 6]
        assert run.position is not None
        rest = search(store, (EVERY,), run.position, Place(Height(0), 0))
        assert [entry.place.height for entry in rest] == [5, 4, 3, 2, 1, 0]


class TestReach:
    def test_an_index_begins_with_its_chain_and_follows_it(self) -> None:
        store = MemoryStore()
        for height in range(3):
            indexer = Indexer(store, REGISTRY, None if height == 0 else Height(height - 1))
            store.apply(indexer.block(Height(height), (), ()))
        assert read_reach(store) == Reach(Height(0), Height(2))

    def test_blocks_that_were_not_indexed_are_not_claimed(self) -> None:
        """Switched off for a while, or behind a snapshot: the list begins where it was switched on again."""
        store = MemoryStore({REACH_KEY: reach_bytes(Reach(Height(0), Height(2)))})
        store.apply(Indexer(store, REGISTRY, Height(8)).block(Height(9), (), ()))
        assert read_reach(store) == Reach(Height(9), Height(9))


class TestForgetting:
    def entries(self) -> dict[bytes, bytes]:
        block = (
            [transaction(ALICE, Call("asset", "transfer", (BOB.address, 5)))],
            [receipt(transferred(ALICE.address, BOB.address))],
        )
        found = {REACH_KEY: reach_bytes(Reach(Height(0), Height(20)))}
        for height in range(1, 21):
            found |= index_block(Height(height), *block, REGISTRY)
        return found

    def test_what_is_below_the_floor_goes_and_nothing_else(self) -> None:
        store, all_entries = MemoryStore(self.entries()), self.entries()
        sweeper = Sweeper(store)
        steps = 0
        while sweeper.step(Height(12), Height(20), limit=7):
            steps += 1
        assert steps > 10, "a little at a time"
        kept = {key: value for key, value in all_entries.items() if key == REACH_KEY or Place.decode(key[-8:]).height >= 12}
        assert dict(store.iterate()) == {**kept, SWEPT_KEY: (12).to_bytes(8)}
        assert not sweeper.step(Height(12), Height(20), limit=7), "and it rests"
        assert not Sweeper(store).step(Height(12), Height(20), limit=7), "also after a restart"

    def test_it_waits_until_a_round_is_worth_it(self) -> None:
        store = MemoryStore(self.entries())
        assert not Sweeper(store).step(Height(2), Height(20))
        assert dict(store.iterate()) == self.entries()
        while (sweeper := Sweeper(store)).step(Height(2), Height(2), limit=10_000):
            pass
        assert sweeper.step(Height(2), Height(2)) is False
        assert min(Place.decode(key[-8:]).height for key, _ in store.iterate(EVERY)) == 2


def test_the_places_of_a_full_block_fit() -> None:
    many = [replace(receipt(), id=bytes(32))] * 2_000
    entries = index_block(Height(5), [transaction(ALICE, Call("asset", "supply", ()))] * 2_000, many, REGISTRY)
    assert len(entries) == 3 * 2_000
