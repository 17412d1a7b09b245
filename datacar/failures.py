"""Why something failed, in the words of people: amounts in DATR or their asset, times as dates, and the next step.

A failure's sentence ends with its numbers, `need 150000000, have 3`. Which of them are money follows from the contract and the
code (`MONEY`), what the others are from their names (`datacar.units`). The sentences themselves stay as they are.
"""

import re
from collections.abc import Mapping
from typing import Final

from datacar.errors import DatacarError
from datacar.failure_hints import hint_of, spoken
from datacar.shapes import OF_THE_ORDER, Money
from datacar.units import BASE, DATR, DATR_SYMBOL, Unit, money
from datacar.words import in_words, plain_unit
from vm.amount_assets import OF_THE_HOLD

MONEY: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    ("asset", "BAD_AMOUNT"): frozenset({"amount", "held", "locked"}),
    ("asset", "BAD_SUPPLY"): frozenset({"need", "have"}),
    ("asset", "BAD_UNLOCK"): frozenset({"portion"}),
    ("asset", "INSUFFICIENT_ALLOWANCE"): frozenset({"need", "have"}),
    ("asset", "INSUFFICIENT_FUNDS"): frozenset({"need", "have"}),
    ("asset", "MAX_SUPPLY"): frozenset({"supply", "limit"}),
    ("charging", "DRIVER_IN_DEBT"): frozenset({"owed"}),
    ("charging", "REFUND_OWED"): frozenset({"owed"}),
    ("loan", "FEE_NOT_AGREED"): frozenset({"fees", "limit"}),
    ("loan", "PAYOFF_CHANGED"): frozenset({"at_most", "payoff"}),
    ("order", "BAD_AMOUNT"): frozenset({"amount", "cap", "least", "price"}),
    ("order", "OVER_CAP"): frozenset({"amount", "cap"}),
}
"""The numbers of failures that are money, by (contract, code)."""

_ANY_ASSET: Final = frozenset({"BAD_AMOUNT", "BAD_SUPPLY", "BAD_UNLOCK", "INSUFFICIENT_ALLOWANCE", "MAX_SUPPLY"})
"""Failures of the asset contract that may be about any asset and do not say which."""
_NUMBER: Final = re.compile(r"(?<=[:,] )([a-z][a-z0-9_]*) (-?[0-9]{1,20})(?=, [a-z]|$)", re.ASCII)
_SYMBOL: Final = re.compile(r"(?<=[:,] )symbol ([A-Z0-9]{1,12})(?=, |$)", re.ASCII)
_ACCOUNT: Final = re.compile(r"(?<=[:,] )account (datr1[a-z0-9]+)(?=, |$)", re.ASCII)
_SHORT_OF: Final = frozenset({"INSUFFICIENT_FUNDS", "insufficient_funds"})


def offline_money(symbol: str) -> Unit:
    """Return the unit of an asset where nobody can be asked for its decimals; also of what `datacar.shapes.priced` names."""
    if symbol.startswith(OF_THE_ORDER):
        return BASE
    said = OF_THE_HOLD if symbol.startswith(OF_THE_HOLD) else symbol
    return DATR if symbol == DATR_SYMBOL else money(f"smallest units of {said}", 0)


def failure_text(contract: str, code: str, message: str, known: Money = offline_money, symbol: str = "") -> str:
    """Return a failure's sentence with its numbers as people write them.

    `known` has the units of assets; `symbol` is the asset that the failed call was about, where the sentence does not say it.
    """
    amounts = MONEY.get((contract, code), frozenset())
    named = _SYMBOL.search(message)
    if named is not None or symbol:
        unit = known(named[1] if named is not None else symbol)
    else:
        unit = offline_money("the asset") if contract == "asset" and code in _ANY_ASSET else DATR

    def shown(match: re.Match[str]) -> str:
        name, number = match[1], int(match[2])
        return f"{name} {unit.show(number) if name in amounts else _plain(name, number)}"

    return in_words(_NUMBER.sub(shown, message))


def failure_hint(contract: str, code: str, message: str) -> str:
    """Return the next step after a failure, by its code."""
    if code not in _SHORT_OF:
        return hint_of(contract, code)
    account = _ACCOUNT.search(message)
    return f"fund the account, or send less; `datacar account {account[1] if account else 'ADDRESS'}` shows what it has"


def explain(error: DatacarError, known: Money = offline_money, symbol: str = "") -> tuple[str, str]:
    """Return an error's message and hint for people: those of a contract's failure or of missing money with amounts in DATR."""
    details = error.details
    if error.reason == "insufficient_funds" and {"need", "have"} <= details.keys():
        unit = known(symbol) if symbol else DATR
        need, have = (unit.show(int(str(details[name]))) for name in ("need", "have"))
        return f"{need} are needed, the highest fee included, and {have} are free", failure_hint("", error.reason, "")
    contract, code, said = (str(details.get(name, "")) for name in ("contract", "code", "message"))
    if error.reason != "contract_error" or not said or said not in error.message:
        tip = f"the last block is {details['tip']}" if error.reason == "not_found" and "tip" in details else ""
        return in_words(error.message), tip or spoken(error.hint)
    return error.message.replace(said, failure_text(contract, code, said, known, symbol)), failure_hint(contract, code, said)


def _plain(name: str, number: int) -> str:
    """Return a number that is no money by the unit that its name says; counts, and what the name counts itself, as they are."""
    unit = plain_unit(name)
    return str(number) if unit is None else unit.show(number)
