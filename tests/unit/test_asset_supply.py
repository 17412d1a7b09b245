"""The checks of the supply can fail: each kind of money made or lost is noticed, in a whole state and in a block's changes."""

from collections.abc import Callable

import msgpack
import pytest

from ledger.store import MemoryStore
from ledger.types import Motes
from tests.asset_chain import founded, told
from tests.supply import OF_ASSET, check_change, check_state
from tests.vm_harness import START_MS, Chain, account
from vm.contracts.asset import Allocation, Asset, Category, Rights, Schedule

ALICE, BOB = account("alice"), account("bob")


@pytest.fixture
def chain() -> Chain:
    """A chain with free, held and locked money, in DATR and in an issued asset."""
    terms = Schedule(START_MS * 2, 0, Motes(50))
    made = founded(
        Allocation(ALICE.address, Motes(100), Category.IDO, None, None),
        Allocation(ALICE.address, Motes(50), Category.TEAM, terms, None),
    )
    part = (Allocation(ALICE.address, Motes(70), Category.OTHER, None, None),)
    told(made.send(ALICE, Asset.issue, "ONE", "x", 0, part, Rights(True, True, True, None)))
    told(made.send(ALICE, Asset.hold_for, BOB.address, Motes(20), "x", START_MS * 2))
    return made


Damage = Callable[[tuple[int, ...]], tuple[int, ...]]


@pytest.mark.parametrize(
    ("field", "damage"),
    [
        ("accounts", lambda value: (value[0] + 1, *value[1:])),
        ("accounts", lambda value: (value[0], value[1] + 1, *value[2:])),
        ("accounts", lambda value: (value[0] - 1, value[1] + 1, *value[2:])),
        ("accounts", lambda value: (*value[:2], value[2] + 1, *value[3:])),
        ("holds", lambda value: (*value[:3], value[3] - 1, *value[4:])),
        ("locks", lambda value: (*value[:2], value[2] - 1, *value[3:])),
        ("supplies", lambda value: value + 1),
    ],
)
def test_what_is_made_or_lost_is_noticed(chain: Chain, field: str, damage: Damage) -> None:
    check_state(chain.state)
    pairs = list(chain.state.iterate(OF_ASSET))
    raw_key, raw = next(pair for pair in pairs if msgpack.unpackb(pair[0], use_list=False)[1] == field)
    change = {raw_key: msgpack.packb(damage(msgpack.unpackb(raw, use_list=False)))}
    with pytest.raises(AssertionError, match="money was made or lost"):
        check_change(chain.state, change)
    damaged = MemoryStore(dict(chain.state.iterate()) | change)
    with pytest.raises(AssertionError, match="money was made or lost"):
        check_state(damaged)


def test_an_account_that_vanishes_is_noticed(chain: Chain) -> None:
    raw_key = next(key for key, _ in chain.state.iterate(OF_ASSET) if msgpack.unpackb(key, use_list=False)[1] == "accounts")
    with pytest.raises(AssertionError, match="money was made or lost"):
        check_change(chain.state, {raw_key: None})


def test_each_asset_is_counted_for_itself(chain: Chain) -> None:
    """A unit that moves from one asset to another is lost in the one and made in the other."""
    assert check_state(chain.state).supplies()["ONE"] == 70
    change = {}
    for raw_key, raw in chain.state.iterate(OF_ASSET):
        key, value = msgpack.unpackb(raw_key, use_list=False), msgpack.unpackb(raw, use_list=False)
        if key[1] == "accounts" and key[2][1] == ALICE.address:
            change[raw_key] = msgpack.packb((value[0] + (1 if key[2][0] == "ONE" else -1), *value[1:]))
    assert len(change) == 2
    with pytest.raises(AssertionError, match="money was made or lost"):
        check_change(chain.state, change)
