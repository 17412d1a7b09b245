"""`rpc.discover` and `chain_*`: the chain's identity, blocks, headers and certificates."""

from typing import Annotated, Final

from ledger.block import Block, Receipt
from ledger.codec import decode
from ledger.errors import NotFoundError
from ledger.policy import HRP
from ledger.types import MOTES_PER_DATR, Height
from node.missing import pruned
from node.rpc import views
from node.rpc.call_views import receipt_steps
from node.rpc.context import VERSION, Context
from node.rpc.jsonrpc import InvalidParamsError, Json
from node.rpc.schema import BlockRef, Flag, Hash, MethodTable, integer, openrpc_document, text
from node.rpc.turns import Steps
from node.rpc.views import INTEGER, MOTES, TEXT, page, ref, shape

METHODS: Final = MethodTable()
DECIMALS: Final = len(str(MOTES_PER_DATR)) - 1
SYMBOL: Final = "DATR"

Limit = Annotated[int, integer(1, 100)]
Cursor = Annotated[str, text(20)]

_PARAMETERS: Final = shape(
    tx_window_ms=INTEGER,
    heartbeat_ms=INTEGER,
    block_max_transactions=INTEGER,
    block_max_bytes=INTEGER,
    block_max_gas=INTEGER,
    gas_price_motes=MOTES,
    base_timeout_ms=INTEGER,
    timeout_cap_ms=INTEGER,
    clock_drift_ms=INTEGER,
    max_gas_limit=INTEGER | {"description": "the most gas that one transaction may ask for"},
)


@METHODS.method("rpc.discover", result={"type": "object", "description": "OpenRPC document"})
async def discover(rpc: Context) -> Json:
    """Return the OpenRPC document of every method this node serves."""
    served = [method for method in rpc.methods.by_name.values() if rpc.node.development or not method.development]
    return openrpc_document(served, version=VERSION, components=views.COMPONENTS)


@METHODS.method(
    "chain_info",
    result=shape(
        chain_id=TEXT,
        genesis_hash=views.HASH,
        height=INTEGER,
        hash=views.HASH,
        timestamp_ms=INTEGER,
        hrp=TEXT,
        decimals=INTEGER,
        symbol=TEXT,
        tx_window_ms=INTEGER,
        development=views.BOOLEAN,
        parameters=_PARAMETERS,
    ),
)
async def chain_info(rpc: Context) -> Json:
    """Return what identifies the chain, its last block's height, hash and time, and its parameters."""
    node = rpc.node
    return {
        "chain_id": node.chain_id,
        "genesis_hash": views.hex_of(node.genesis_hash),
        "height": node.tip.height,
        "hash": views.hex_of(node.tip_hash),
        "timestamp_ms": node.tip.timestamp_ms,
        "hrp": HRP,
        "decimals": DECIMALS,
        "symbol": SYMBOL,
        "tx_window_ms": node.parameters.tx_window_ms,
        "development": node.development,
        "parameters": views.parameters_view(node.parameters),
    }


@METHODS.method("chain_getHeader", result=ref("Header"))
async def get_header(rpc: Context, height: BlockRef | None = None, hash_: Hash | None = None) -> Json:
    """Return the header of a height or hash; of the last block without either."""
    return rpc.header_view(rpc.find_header(_one_of(height, hash_)))


@METHODS.method("chain_getBlock", result=ref("Block"))
async def get_block(rpc: Context, height: BlockRef | None = None, full: Flag = False, hash_: Hash | None = None) -> Json:
    """Return a block: transaction ids, or with `full` the decoded transactions and the receipts. Errors: pruned."""
    header = rpc.find_header(_one_of(height, hash_))
    view = rpc.header_view(header)
    answer = {"height": header.height, "hash": view["hash"], "header": view}
    if full:
        async with rpc.share.large():
            return answer | await rpc.turns.run(_full_steps(rpc, header.height))
    tx_ids = [views.hex_of(tx_id) for tx_id in rpc.node.tx_ids(header.height) or ()]
    return answer | {"size_bytes": _size_of(_block(rpc, header.height)), "transactions": tx_ids}


def _full_steps(rpc: Context, height: Height) -> Steps[Json]:
    """Return a block's size, transactions and receipts."""
    block, receipts = _block(rpc, height), rpc.node.lists.receipts(height)
    if receipts is None:
        raise pruned(f"the receipts of block {height}", rpc.node.held.receipts_from, height=height)
    yield
    transactions = yield from rpc.encoded_steps(block.transactions, rpc.decoded_steps)
    shown = yield from rpc.encoded_steps(receipts, lambda data: receipt_steps(rpc.registry, Receipt.from_value(decode(data))))
    return {"size_bytes": _size_of(block), "transactions": transactions, "receipts": shown}


def _block(rpc: Context, height: Height) -> Block:
    block = rpc.node.block(height)
    if block is None:
        raise pruned(f"the body of block {height}", rpc.node.held.bodies_from, height=height)
    return block


def _size_of(block: Block) -> int:
    return sum(map(len, block.transactions))


@METHODS.method("chain_getCommit", result=ref("Certificate"))
async def get_commit(rpc: Context, height: BlockRef | None = None, hash_: Hash | None = None) -> Json:
    """Return the quorum certificate of a block: who finally agreed on it. Genesis has none."""
    header = rpc.find_header(_one_of(height, hash_))
    certificate = rpc.node.certificate(header.height)
    if certificate is None:
        raise NotFoundError("not_found", "genesis needs no certificate", hint="ask for a height from 1 on", height=header.height)
    return views.certificate_view(rpc.header_view(header), certificate, rpc.node.committee_at(header.height))


@METHODS.method("chain_listBlocks", result=page(ref("Header")))
async def list_blocks(rpc: Context, limit: Limit = 20, cursor: Cursor | None = None) -> Json:
    """Return headers from the newest down, or on from a cursor, as far as they are held."""
    node = rpc.node
    start = node.tip.height if cursor is None else min(cursor_number(cursor), node.tip.height)
    oldest = node.held.headers_from
    after = max(start - limit, oldest - 1)
    headers = [header for height in range(start, after, -1) if (header := node.header(Height(height))) is not None]
    return {"items": [rpc.header_view(header) for header in headers], "next_cursor": str(after) if after >= oldest else None}


def _one_of(height: int | bytes | None, block_hash: bytes | None) -> int | bytes | None:
    if height is not None and block_hash is not None:
        raise InvalidParamsError("height and hash were both given", hint="name the block in one way", parameter="hash")
    return block_hash if height is None else height


def cursor_number(cursor: str) -> int:
    """Return the number in a list's cursor. Raises `InvalidParamsError`."""
    if not (cursor.isascii() and cursor.isdigit()) or int(cursor) > 2**53:
        raise InvalidParamsError(
            "parameter cursor: not one that this method gave", hint="pass next_cursor back", parameter="cursor"
        )
    return int(cursor)
