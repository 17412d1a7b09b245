"""Why a call fails, and which transactions may not stand in a block.

A failure has a stable code (the member's name of a `StrEnum`), a sentence (the member's value) and the numbers a person needs.
"""

from enum import StrEnum
from typing import Final, Self

from ledger.block import ExecutionError
from ledger.errors import RejectedError
from ledger.types import TxHash

MAX_MESSAGE_CHARS: Final = 512


class CoreError(StrEnum):
    """Codes of the runtime itself; each contract adds its own."""

    UNKNOWN_CONTRACT = "there is no such contract"
    UNKNOWN_METHOD = "the contract has no such method"
    UNKNOWN_EVENT = "the contract has no such event"
    UNKNOWN_FIELD = "the contract stores nothing under this name"
    WRONG_KIND = "the method cannot be used this way: transactions call write methods, queries read methods"
    CONTRACT_DISABLED = "governance has switched this contract off; it can be read"
    BAD_ARGUMENTS = "the arguments do not fit the method"
    OUT_OF_GAS = "the gas limit was reached"
    BAD_INPUT = "something the contract was given cannot be used"
    BAD_TIME = "a call can only be scheduled for a later time"
    CALL_DEPTH = "contracts called one another too deeply"
    READ_ONLY = "a read method tried to change the state"
    TOO_MANY_EVENTS = "too many events in one transaction"
    CONTRACT_DEFECT = "the contract's code failed; this is a defect of the contract, not of the call"


class ContractError(RejectedError):
    """A call failed: its transaction reverts. `contract`, `failure_code`, `message` and `numbers` say where and why."""

    def __init__(self, failure: StrEnum, **numbers: int | str) -> None:
        message = _sentence(failure.value, numbers)
        super().__init__("contract_error", message, hint="see the contract's ABI for this code (contract_abi)")
        self.contract = ""
        self.failure_code = failure.name
        self.numbers = numbers
        self.details = {"contract": "", "code": failure.name, "message": message}

    def within(self, contract: str) -> Self:
        """Note the contract that was running; the innermost one stays."""
        if not self.contract:
            self.contract = contract
            self.details["contract"] = contract
        return self

    def to_execution_error(self) -> ExecutionError:
        """Return what the receipt says of this failure."""
        return ExecutionError(self.contract, self.failure_code, self.message)


def _sentence(text: str, numbers: dict[str, int | str]) -> str:
    if numbers:
        text += ": " + ", ".join(f"{name} {value}" for name, value in numbers.items())
    return text if len(text) <= MAX_MESSAGE_CHARS else text[: MAX_MESSAGE_CHARS - 3] + "..."


class InsufficientFundsError(RejectedError):
    """The account cannot pay: `need` and `have` are motes (decimal strings in `details`)."""

    def __init__(self, need: int, have: int) -> None:
        super().__init__(
            "insufficient_funds",
            f"{need} motes are needed and {have} are free",
            hint="fund the account, or send less",
            need=str(need),
            have=str(have),
        )
        self.need = need
        self.have = have


class InvalidEntryError(RejectedError):
    """A transaction that may not stand at its position: the whole proposal is invalid. `index` counts from 0.

    `reason` is `insufficient_funds` (gas_limit x price cannot be reserved) or `too_large` (over the block's gas).
    """

    def __init__(self, reason: str, message: str, *, index: int, tx_hash: TxHash, **numbers: int) -> None:
        super().__init__(
            reason,
            f"entry {index}: {message}",
            hint="leave it out of this block",
            index=index,
            tx_hash="0x" + tx_hash.hex(),
            **numbers,
        )
        self.index = index
        self.tx_hash = tx_hash
        self.numbers = numbers
