"""What questions say of money: what leaves an account by the events of a simulation, and what is left of it."""

from typing import Final

import pytest

from datacar import Event
from node.commands.agreement import Cost, spent_by

ME: Final = "datr1me"
YOU: Final = "datr1you"


def event(name: str, amount: object = "5", contract: str = "asset", **fields: str) -> Event:
    return Event(contract, name, {"amount": amount, **fields})


@pytest.mark.parametrize(
    ("events", "spent"),
    [
        ([], 0),
        ([event("Transferred", sender=ME, recipient=YOU)], 5),
        ([event("Transferred", sender=YOU, recipient=ME)], -5),
        ([event("Transferred", sender=ME, recipient=ME)], 0),
        ([event("Sent", symbol="CARM", sender=ME, recipient=YOU), event("Transferred", sender=ME, recipient=YOU)], 5),
        ([event("Held", owner=ME, holder=YOU, symbol="DATR"), event("Released", owner=ME, symbol="DATR")], 0),
        ([event("Noted", contract="notes", sender=ME)], 0),
        ([event("Captured", owner=ME, recipient=YOU, symbol="DATR")], None),
        ([event("Transferred", amount=None, sender=ME, recipient=YOU)], None),
    ],
)
def test_what_leaves_an_account_is_known_or_said_not_to_be(events: list[Event], spent: int | None) -> None:
    assert spent_by(ME, events) == spent


def test_a_fee_is_named_where_gas_has_a_price() -> None:
    assert Cost(1_000, 1_500, 0, 10**8, 5 * 10**7).lines() == [
        "gas: 1,000, at most 1,500; no fee",
        "balance: 1 DATR free, 0.5 DATR afterwards",
    ]
    assert Cost(1_000, 1_500, 5, 10**8, 5 * 10**7).lines() == [
        "gas: 1,000, at most 1,500; fee: 0.00005 DATR expected, at most 0.000075 DATR",
        "balance: 1 DATR free, 0.499925 DATR or more afterwards",
    ]
    assert Cost(1_000, 1_500, 5, 10**8, None).lines()[1:] == []
