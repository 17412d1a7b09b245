"""The JSON-RPC methods, a file for each family."""

from typing import Final

from node.rpc.methods import chain, contract, development, governance, network, tx
from node.rpc.schema import MethodTable

METHODS: Final = MethodTable.merged(
    (chain.METHODS, tx.METHODS, contract.METHODS, network.METHODS, governance.METHODS, development.METHODS)
)
