"""The wallet SDK: `Client`, `AsyncClient`, `Wallet`, amounts, and the errors that say what became of a payment.

`LightClient` reads what any node says and believes only what it proves.

from datacar import Client, Wallet

wallet = Wallet.from_mnemonic("...")
with Client("http://127.0.0.1:8645") as client:
    receipt = client.transfer(wallet, to="datr1...", amount="1.5")
"""

from datacar import amounts, errors
from datacar.amounts import format_motes, parse_datr
from datacar.async_client import AsyncClient
from datacar.client import Client
from datacar.flows import Balance, Simulation
from datacar.light import LightClient, Verified
from datacar.multisig import Multisig, PendingTransaction
from datacar.receipt import Event, Failure, Receipt
from datacar.transactions import ChainInfo
from datacar.wallet import Wallet

__all__ = [
    "AsyncClient",
    "Balance",
    "ChainInfo",
    "Client",
    "Event",
    "Failure",
    "LightClient",
    "Multisig",
    "PendingTransaction",
    "Receipt",
    "Simulation",
    "Verified",
    "Wallet",
    "amounts",
    "errors",
    "format_motes",
    "parse_datr",
]
