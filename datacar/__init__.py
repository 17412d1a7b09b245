"""The wallet SDK: `Client`, `AsyncClient`, `Wallet`, amounts, and the errors that say what became of a payment.

`LightClient` reads what any node says and believes only what it proves.

from datacar import Client, Wallet

wallet = Wallet.from_mnemonic("...")
with Client("http://127.0.0.1:8645") as client:
    receipt = client.transfer(wallet, to="datr1...", amount="1.5")

What is named here is imported when it is used first: a command's help, or a program without asyncio, does not wait for aiohttp.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
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

_MODULES: Final = {
    "AsyncClient": "async_client",
    "Balance": "flows",
    "ChainInfo": "transactions",
    "Client": "client",
    "Event": "receipt",
    "Failure": "receipt",
    "LightClient": "light",
    "Multisig": "multisig",
    "PendingTransaction": "multisig",
    "Receipt": "receipt",
    "Simulation": "flows",
    "Verified": "light",
    "Wallet": "wallet",
    "format_motes": "amounts",
    "parse_datr": "amounts",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, once."""
    if name in ("amounts", "errors"):
        return importlib.import_module(f"datacar.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module 'datacar' has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f"datacar.{_MODULES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
