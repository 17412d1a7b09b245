"""What a method's handler works with, and the questions that several of them ask."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final, TypeVar

import orjson

from ledger.block import Header
from ledger.claims import StateClaim, StateEntry
from ledger.codec import Value
from ledger.errors import NotFoundError
from ledger.state_tree import PrunedStateError
from ledger.transaction import Call
from ledger.types import BlockHash, Height, TxId
from node.api import NodeApi, TxStatus
from node.missing import pruned
from node.rpc.call_views import transaction_steps
from node.rpc.jsonrpc import Json, dump
from node.rpc.room import Share
from node.rpc.schema import MethodTable
from node.rpc.turns import Steps, Turns
from node.rpc.views import header_view, hex_of
from node.rpc.waits import Waits
from node.state_version import StateVersion
from vm.abi import MethodSpec
from vm.registry import Registry

VERSION: Final = version("datacar")  # looked up once: it reads files
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class At:
    """How a state read is to be answered: of which height (None: the last), and proven from genesis or from a trusted height."""

    height: int | None = None
    prove: bool = False
    trusted_height: int | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """The node, its contracts, the methods it serves, the largest request it takes, turns for long work, room for waits and for
    the answer.
    """

    node: NodeApi
    registry: Registry
    methods: MethodTable
    max_body_bytes: int
    turns: Turns
    waits: Waits
    share: Share

    def header_view(self, header: Header) -> Json:
        """Return a header's view with its hash."""
        return header_view(self.node.chain_id, self.hash_of(header), header)

    def hash_of(self, header: Header) -> BlockHash:
        """Return a committed header's hash."""
        return self.node.tip_hash if header == self.node.tip else header.hash(self.node.genesis_hash)

    def find_header(self, ref: int | bytes | None) -> Header:
        """Return the committed header of a height or hash, the last one for None. Raises `NotFoundError`, also `pruned`."""
        node = self.node
        if ref is None:
            return node.tip
        height = Height(ref) if isinstance(ref, int) else node.height_of(BlockHash(ref))
        header = None if height is None or height > node.tip.height else node.header(height)
        if header is None:
            shown = ref if isinstance(ref, int) else "0x" + ref.hex()
            if (oldest := node.held.headers_from) > 1 and (height is None or height < oldest):
                raise pruned(f"block {shown}, if there is one,", oldest, block=shown)
            raise NotFoundError(
                "not_found", f"there is no block {shown} here", hint="the tip is in chain_info", block=shown, tip=node.tip.height
            )
        return header

    def version(self, height: int | None) -> StateVersion:
        """Return the state after a block, of the last one for None. Raises `NotFoundError`: not there yet, or `pruned`."""
        return self.node.state_at(self.node.tip.height if height is None else Height(height))

    async def read(self, method: MethodSpec, contract: str, args: Sequence[Value], at: At) -> tuple[Value, Json]:
        """Return what a read method answers, and the fields of the answer that say at which height, and prove it."""
        [(value, height, proven)] = await self.turns.each([at], lambda at: self._read(method.name, contract, args, at))
        place = {"height": height}
        return value, place if proven is None else place | {"proof": await self.state_proof(*proven, at.trusted_height)}

    def _read(
        self, method: str, contract: str, args: Sequence[Value], at: At
    ) -> tuple[Value, Height, tuple[StateVersion, Sequence[bytes]] | None]:
        """Return an answer, its height, and the keys read for a proof. All in one go: between turns versions are pruned."""
        node = self.node
        if at.height is None and not at.prove:
            return node.query(contract, method, args), node.tip.height, None
        version = self.version(at.height)
        if not at.prove:
            return node.query(contract, method, args, version), version.header.height, None
        value, keys = node.query_noting_reads(contract, method, args, version)
        return value, version.header.height, (version, keys)

    async def state_proof(self, version: StateVersion, keys: Sequence[bytes], trusted_height: int | None) -> str:
        """Return the proof, as 0x hex, of what raw state keys have in a version, ascending."""
        height, trusted = version.header.height, None if trusted_height is None else Height(trusted_height)
        try:
            entries = await self.turns.each(keys, lambda key: StateEntry(key, version.get(key), version.prove(key)))
        except PrunedStateError as error:  # between two turns
            raise pruned(f"the state of height {height}", self.node.held.states_from, height=height) from error
        return hex_of(self.node.prove(height, StateClaim(tuple(entries)), trusted).encode())

    def decoded_steps(self, raw: bytes) -> Steps[Json]:
        """Return the view of a transaction's bytes; raises the coded error of bytes that are none."""
        return (yield from transaction_steps(self.registry, self.node.decode_transaction(raw)))

    def encoded_steps(self, items: Iterable[T], view: Callable[[T], Steps[Json]]) -> Steps[list[Json]]:
        """Return the items' views as bytes, so that never more than one of them is held as objects. Only within `share.large`.

        Raises `TooLargeError`, `LimitError` as soon as there is no room for them.
        """
        done: list[Json] = []
        for item in items:
            shown = yield from view(item)
            done.append(orjson.Fragment(self.share.piece(dump(shown))))
            yield
        return done

    async def views(self, items: Iterable[T], view: Callable[[T], Steps[Json]], *, large: bool = True) -> list[Json]:
        """Return the items' views, made in turns; where they may be `large` as bytes, in a place for that."""
        if not large:
            return await self.turns.run(_views_steps(items, view))
        async with self.share.large():
            return await self.turns.run(self.encoded_steps(items, view))

    async def wait_final(self, tx_id: TxId, timeout_ms: int, valid_until_ms: int | None) -> TxStatus:
        """Return a transaction's final status. Raises `WaitTimeoutError`: it may have been accepted; or `pruned`."""
        with contextlib.suppress(NotFoundError):  # what may stand in an older block may also be on its way here
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


def _views_steps(items: Iterable[T], view: Callable[[T], Steps[Json]]) -> Steps[list[Json]]:
    done = []
    for item in items:
        done.append((yield from view(item)))
        yield
    return done
