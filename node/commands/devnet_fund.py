"""Test money from a development network's faucet: its id is told before it is final, since another call is another payment."""

from typing import Any, Final

from datacar.client import Client
from datacar.errors import BadAnswerError, ConnectionLostError
from datacar.receipt import outcome_of
from ledger.errors import DatacarError, UnavailableError
from node.commands.connection import expect_object
from node.commands.output import progress

_SURE: Final = "the same command again would pay once more"


class FundingUnknownError(UnavailableError):
    """The faucet was asked and the end is not known: `outcome_unknown`, with the transaction's `id` where that is known."""

    def __init__(self, message: str, hint: str, **details: object) -> None:
        super().__init__("outcome_unknown", message, hint=f"{hint}; {_SURE}", **details)


def fund_account(url: str, address: str, motes: int, timeout_s: float) -> dict[str, Any]:
    """Send test money and return the final `tx_wait` answer, with what `dev_faucet` answered.

    Raises `FundingUnknownError`, `TransactionFailedError`, `TransactionExpiredError`, or what kept the faucet from sending.
    """
    with Client(url, timeout_s) as client:
        try:
            accepted = expect_object(client.call("dev_faucet", address=address, amount_motes=str(motes)), "submission")
        except ConnectionLostError as error:
            hint = f"look what arrived: `datacar account {address} --rpc {url}`"
            raise FundingUnknownError(f"whether the money was sent is not known: {error.message}", hint) from error
        tx_id = str(accepted["id"])
        progress(f"sending {tx_id}")
        try:
            found = expect_object(client.wait(tx_id), "status")
        except (DatacarError, KeyboardInterrupt) as error:
            cause = error.message if isinstance(error, DatacarError) else "interrupted"
            hint = f"ask how it ends: `datacar tx wait {tx_id} --rpc {url}`"
            raise FundingUnknownError(f"the outcome of {tx_id} is not known: {cause}", hint, id=tx_id) from None
    if outcome_of(found, 0) is None:
        raise BadAnswerError("tx_wait answered no final status", id=tx_id)
    return {**accepted, **found}
