"""`dev_*`: only on chains whose genesis is marked as development."""

from typing import Final

from ledger.types import MOTES_PER_DATR
from node.rpc.context import Context
from node.rpc.jsonrpc import Json
from node.rpc.methods.tx import DEFAULT_TIMEOUT_MS, TimeoutMs, Wait, settled
from node.rpc.schema import Address, MethodTable, Motes
from node.rpc.views import ref

METHODS: Final = MethodTable()
FAUCET_MOTES: Final = 1_000 * MOTES_PER_DATR


@METHODS.method("dev_faucet", result=ref("Submission"), development=True)
async def faucet(
    rpc: Context,
    address: Address,
    amount_motes: Motes = FAUCET_MOTES,
    wait: Wait = "accepted",
    timeout_ms: TimeoutMs = DEFAULT_TIMEOUT_MS,
) -> Json:
    """Send test money to an address (1,000 DATR unless `amount_motes` says otherwise), out of an account of genesis."""
    submission = await rpc.node.faucet(address, amount_motes)
    return await settled(rpc, submission, None, wait, timeout_ms)
