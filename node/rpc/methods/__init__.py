"""The JSON-RPC methods, a file for each family."""

from typing import Final

from node.rpc.methods import chain, contract, development, governance, lists, network, proof, state_nodes, tx
from node.rpc.schema import MethodTable

METHODS: Final = MethodTable.merged(
    (
        chain.METHODS,
        tx.METHODS,
        lists.METHODS,
        contract.METHODS,
        network.METHODS,
        governance.METHODS,
        proof.METHODS,
        state_nodes.METHODS,
        development.METHODS,
    )
)
