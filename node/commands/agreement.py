"""How commands ask before something irreversible happens, and say what it costs: one way for all of them.

Without a terminal to ask on, `--yes` must say so: `check_can_ask` refuses at once, before anything else is asked or sent.
"""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import typer

from datacar.client import Client
from datacar.flows import Simulation
from datacar.receipt import Event
from datacar.units import DATR, DATR_SYMBOL
from ledger.errors import InvalidInputError
from node.commands.exits import NOT_CONFIRMED

SAY_YES: Final = "say --yes to go on without a question"
ASSET: Final = "asset"
_MOTES: Final = re.compile(r"[0-9]{1,20}", re.ASCII)
_PAID: Final = {"Transferred": "sender", "Sent": "sender", "Held": "owner"}
_RECEIVED: Final = {"Transferred": "recipient", "Sent": "recipient", "Released": "owner"}


class NotConfirmedError(InvalidInputError):
    """Nobody can be asked and `--yes` was not given: `not_confirmed`, which ends with the exit code of a usage error."""

    def __init__(self, hint: str) -> None:
        super().__init__(NOT_CONFIRMED, "nothing was done: there is no terminal to ask on", hint=hint)


def is_terminal() -> bool:
    """Return whether there is somebody to ask."""
    return sys.stdin.isatty()


def check_can_ask(*, yes: bool, hint: str = SAY_YES) -> None:
    """Raise `NotConfirmedError` where a question would find nobody."""
    if not (yes or is_terminal()):
        raise NotConfirmedError(hint)


def agree(question: str, *, yes: bool) -> None:
    """Ask, unless told not to; no ends the command with exit code 1."""
    if not yes:
        typer.confirm(question, abort=True, err=True)


@dataclass(frozen=True, slots=True)
class Cost:
    """What calls cost whoever signs: the gas that they use now, the most they may use, and motes for each of it.

    `free_motes` is what the account has, `spent_motes` what leaves it besides the fee, None where that is not known.
    """

    gas_used: int
    gas_limit: int
    gas_price_motes: int
    free_motes: int
    spent_motes: int | None

    @classmethod
    def ask(cls, client: Client, address: str, found: Simulation) -> "Cost":
        """Return what a simulated call costs; the node is asked for the price and the account's money."""
        price, money = client.chain_info().gas_price_motes, client.balance(address)
        return cls(found.gas_used, found.gas_limit, price, money.free, spent_by(address, found.events))

    @property
    def most_motes(self) -> int:
        """Return the highest possible fee."""
        return self.gas_limit * self.gas_price_motes

    def lines(self) -> list[str]:
        """Return it in words: gas, the expected and the highest fee, and what the account keeps."""
        expected = self.gas_used * self.gas_price_motes
        fee = f"fee: {DATR.show(expected)} expected, at most {DATR.show(self.most_motes)}" if self.gas_price_motes else "no fee"
        lines = [f"gas: {self.gas_used:,}, at most {self.gas_limit:,}; {fee}"]
        if self.spent_motes is None:
            return lines
        left = max(0, self.free_motes - self.spent_motes - self.most_motes)
        least = " or more" if self.gas_price_motes else ""
        return [*lines, f"balance: {DATR.show(self.free_motes)} free, {DATR.show(left)}{least} afterwards"]


def spent_by(address: str, events: Iterable[Event]) -> int | None:
    """Return the motes that leave an account's free money by what these events tell; None where some tell it otherwise."""
    spent = 0
    for event in events:
        if event.contract != ASSET or event.fields.get("symbol", DATR_SYMBOL) != DATR_SYMBOL:
            continue
        if event.name not in _PAID and event.name not in _RECEIVED:
            return None
        if not _MOTES.fullmatch(str(event.fields.get("amount"))):  # another version's
            return None
        amount = int(event.fields["amount"])
        spent += amount if event.fields.get(_PAID.get(event.name, "")) == address else 0
        spent -= amount if event.fields.get(_RECEIVED.get(event.name, "")) == address else 0
    return spent
