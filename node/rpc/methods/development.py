"""`dev_*`: only on chains whose genesis is marked as development."""

from typing import Annotated, Final

from ledger.types import MOTES_PER_DATR, Height
from node.clock import MAX_AHEAD_MS
from node.rpc.context import Context
from node.rpc.jsonrpc import Json
from node.rpc.methods.tx import DEFAULT_TIMEOUT_MS, TimeoutMs, Wait, settled
from node.rpc.schema import Address, HeightNumber, MethodTable, Motes, integer
from node.rpc.views import INTEGER, ref, shape

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


@METHODS.method("dev_time", result=shape(time_ms=INTEGER, offset_ms=INTEGER, promised_ms=INTEGER), development=True)
async def node_time(rpc: Context) -> Json:
    """Return this node's clock (Unix ms), how far ahead of the machine's it is, and how far it will be."""
    found = rpc.node.time()
    return {"time_ms": found.time_ms, "offset_ms": found.offset_ms, "promised_ms": found.promised_ms}


@METHODS.method(
    "dev_increaseTimeMs",
    result=shape(from_height=INTEGER, time_ms=INTEGER, offset_ms=INTEGER, promised_ms=INTEGER),
    development=True,
)
async def increase_time(
    rpc: Context, ms: Annotated[int, integer(1, MAX_AHEAD_MS)], from_height: HeightNumber | None = None
) -> Json:
    """Set this node's clock ahead, for good: it is kept across restarts. A network needs all its members set alike.

    Ask the primary first, the others with the `from_height` of its answer (`datacar devnet time` does): the clock is set where
    that height begins, and no member refuses another's block. Without `from_height` it is set as soon as no block is on its way.
    """
    height = rpc.node.set_ahead(ms, None if from_height is None else Height(from_height))
    return {"from_height": height, **(await node_time(rpc))}
