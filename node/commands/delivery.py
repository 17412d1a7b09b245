"""Sending a transaction from a command: its id is told before it leaves."""

from datacar.client import Client
from datacar.errors import OutcomeUnknownError
from datacar.receipt import Receipt
from ledger.transaction import Transaction
from node.commands.output import progress


def deliver(client: Client, transaction: Transaction) -> Receipt:
    """Send a transaction and return its receipt. Its id is told before it leaves: Ctrl-C afterwards is no end of a payment.

    Raises like `Client.send`, and `OutcomeUnknownError` when interrupted.
    """
    tx_id, valid_until_ms = "0x" + transaction.id.hex(), transaction.body.valid_until_ms
    progress(f"sending {tx_id} (valid_until_ms {valid_until_ms})")
    try:
        return client.send(transaction)
    except KeyboardInterrupt:
        raise OutcomeUnknownError(tx_id, transaction.raw, valid_until_ms, "interrupted") from None
