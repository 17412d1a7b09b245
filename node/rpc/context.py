"""What a method's handler works with, and the questions that several of them ask."""

from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from ledger.block import Header
from ledger.errors import NotFoundError
from ledger.transaction import Call
from ledger.types import BlockHash, Height, TxId
from node.api import NodeApi, TxStatus
from node.rpc.jsonrpc import InvalidParamsError, Json
from node.rpc.schema import MethodTable
from node.rpc.turns import Turns
from node.rpc.views import header_view, transaction_view
from node.rpc.waits import Waits
from vm.registry import Registry

VERSION: Final = version("datacar")  # looked up once: it reads files


@dataclass(frozen=True, slots=True)
class Context:
    """The node, its contracts, the methods it serves, the largest request it takes, turns for long work, and room for waits."""

    node: NodeApi
    registry: Registry
    methods: MethodTable
    max_body_bytes: int
    turns: Turns
    waits: Waits

    def header_view(self, header: Header) -> Json:
        """Return a header's view with its hash."""
        return header_view(self.node.chain_id, self.hash_of(header), header)

    def hash_of(self, header: Header) -> BlockHash:
        """Return a committed header's hash."""
        return self.node.tip_hash if header == self.node.tip else header.hash(self.node.genesis_hash)

    def find_header(self, ref: int | bytes | None) -> Header:
        """Return the committed header of a height or hash, the last one for None. Raises `NotFoundError`."""
        node = self.node
        if ref is None:
            return node.tip
        height = Height(ref) if isinstance(ref, int) else node.height_of(BlockHash(ref))
        header = None if height is None or height > node.tip.height else node.header(height)
        if header is None:
            shown = ref if isinstance(ref, int) else "0x" + ref.hex()
            raise NotFoundError(
                "not_found", f"there is no block {shown} here", hint="the tip is in chain_info", block=shown, tip=node.tip.height
            )
        return header

    def check_state_read(self, height: int | None, prove: bool) -> Height:
        """Return the height that a state read is answered at. Raises `NotFoundError` for states that are not kept."""
        tip = self.node.tip.height
        if prove:
            raise InvalidParamsError("parameter prove: this node does not serve proofs", hint="leave it out", parameter="prove")
        if height is not None and height > tip:
            raise NotFoundError("not_found", f"height {height} is not there yet", hint="wait for it", height=height, tip=tip)
        if height is not None and height < tip:
            raise NotFoundError(
                "pruned", f"the state of height {height} is not kept", hint="read at the latest height", oldest=tip, height=height
            )
        return tip

    def decoded_view(self, raw: bytes) -> Json:
        """Return the view of a transaction's bytes; raises the coded error of bytes that are none."""
        return transaction_view(self.registry, self.node.decode_transaction(raw))

    async def wait_final(self, tx_id: TxId, timeout_ms: int, valid_until_ms: int | None) -> TxStatus:
        """Return a transaction's final status. Raises `WaitTimeoutError`, and nothing else: it may have been accepted."""
        status = self.node.transaction_status(tx_id, valid_until_ms)
        if status.is_final:
            return status
        with self.waits.one(tx_id):
            return await self.node.wait_final(tx_id, timeout_ms, valid_until_ms)

    def calls_behind(self, status: TxStatus) -> tuple[Call, ...]:
        """Return the calls of a committed transaction that returned something, to show it by its type; else none."""
        receipt = status.receipt
        if receipt is None or status.height is None or status.index is None or all(value is None for value in receipt.results):
            return ()
        block = self.node.block(status.height)
        return () if block is None else self.node.decode_transaction(block.transactions[status.index]).body.calls
