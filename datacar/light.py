"""A light client: follows the committees from genesis (or from a trusted block) and believes a node nothing without a proof.

    with LightClient("http://127.0.0.1:8645", genesis_hash, state_file=Path("light.json")) as light:
        account = light.account("datr1...")
        print(account.value.free, account.block.height, account.block.epoch, account.block.timestamp_ms)

It refuses what is older than what it has seen: a lower last block, an older epoch, another block of the same height. Of the block
in the file and the one it is told to start from it takes the newer, and the node must prove that the older is on the same chain
(where it is not `pruned` there; with an older epoch only the signatures of that time can say so). It cannot
know how old the newest answer of its node is: `block.timestamp_ms` says of when it is, and `max_age_s` bounds it by our clock.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from datacar import trusted
from datacar.client import Client
from datacar.errors import BadAnswerError, BadProofError
from datacar.flows import Balance
from datacar.proven import read_method, read_value
from datacar.receipt import Receipt, genesis_hash_of
from datacar.rpc import Json
from datacar.steps import Call, Flow
from datacar.trusted import BlockReference
from ledger.block import Header
from ledger.codec import decode
from ledger.committee import Committee
from ledger.committee_chain import Handover, follow
from ledger.errors import NotFoundError, UnavailableError
from ledger.policy import parse_address
from ledger.proof import ForkError, Proof, StaleProofError, TrustedBlock
from ledger.types import Motes

T = TypeVar("T")
_ASSET: Final = "asset"


@dataclass(frozen=True, slots=True)
class Verified(Generic[T]):
    """An answer that is proven: of which block, epoch and time it is, and the canonical bytes that convince others too."""

    value: T
    block: TrustedBlock
    proof: bytes


class LightChain:
    """What a light client believes, and its reads as flows (`datacar.flows`): no I/O but that of `state_file`."""

    def __init__(
        self,
        trusted_genesis: bytes | str,
        start: TrustedBlock | BlockReference | None = None,
        *,
        state_file: Path | None = None,
        accept_old_epochs: bool = False,
        max_age_s: float | None = None,
    ) -> None:
        self.genesis_hash = genesis_hash_of(trusted_genesis)
        self._file = state_file
        kept = None if state_file is None else trusted.load(state_file, self.genesis_hash)
        first, self._older = _ordered(kept, start)
        self.newest = first if isinstance(first, TrustedBlock) else None
        self._named = first if isinstance(first, BlockReference) else None
        self._accept_old_epochs = accept_old_epochs
        self._max_age_s = max_age_s

    # ---- following

    def sync(self) -> Flow[TrustedBlock]:
        """Follow the committees up to now and return the node's last block."""
        if self._is_to_begin:
            yield from self._begin()
        while (yield from self._follow_page()):
            pass
        return (yield from self.header()).block

    @property
    def _is_to_begin(self) -> bool:
        return self.newest is None or self._older is not None

    def _begin(self) -> Flow[None]:
        """Believe the first block: the one that was kept or named, whichever is newer, or genesis. The older one must agree."""
        if self._named is not None:
            block = yield from self._named_block(self._named)
        elif self.newest is None:
            block = yield from self._genesis()
        else:
            block = self.newest
        if self._older is not None:
            yield from self._compare(self._older, block)
        self._named = self._older = None
        if block is not self.newest:
            self._believe(block)

    def _genesis(self) -> Flow[TrustedBlock]:
        """Return genesis, or a block that is proven from it."""
        try:
            answer = yield Call("chain_proveHeader", {"height": 0})
        except NotFoundError:  # a restored node does not have block 1, which proves the genesis block, but all handovers
            answer = yield Call("chain_proveHeader", {})
        return _proof_in(answer).verify(self.genesis_hash)

    def _named_block(self, named: BlockReference) -> Flow[TrustedBlock]:
        """Return the block that was named, which must hash to its hash, with its committee."""
        found = yield Call("chain_proveHeader", {"height": named.height, "trusted_height": named.height})
        header = _proof_in(found).header
        answer = yield Call("chain_getCommittee", {"height": named.height})
        try:
            committee = trusted.committee_from_json(answer)
        except (KeyError, TypeError, ValueError) as problem:
            raise BadAnswerError(f"chain_getCommittee lacks something: {problem!r}") from None
        if header.hash(self.genesis_hash) != named.block_hash or committee.hash(self.genesis_hash) != header.committee_hash:
            raise BadProofError("the node does not have the trusted block", height=named.height)
        return _block_of(header, committee, self.genesis_hash)

    def _compare(self, older: BlockReference, known: TrustedBlock) -> Flow[None]:
        """Raise `ForkError` unless the chain of `known` has the older block, as far as the node still holds what proves it."""
        asked = {"height": older.height}
        try:
            try:
                answer = yield Call("chain_proveHeader", {**asked, "trusted_height": known.height})
                block = _proof_in(answer).verify(self.genesis_hash, known)
            except StaleProofError:  # of an epoch before, which nothing new is believed of: to contradict it is enough
                answer = yield Call("chain_proveHeader", asked)
                block = _proof_in(answer).verify(self.genesis_hash)
        except NotFoundError as error:
            if error.reason != "pruned":
                raise
            return
        if block.height != older.height:
            raise BadAnswerError("the answer is about another height", expected=older.height, got=block.height)
        if block.block_hash != older.block_hash:
            raise ForkError(older.height, older.block_hash, block.block_hash)

    def _follow_page(self) -> Flow[bool]:
        """Follow some changes of the committee; return whether there are more."""
        known = self._known()
        answer = yield Call("chain_listHandovers", {"from_height": known.height})
        try:
            steps = [Handover.from_value(decode(bytes.fromhex(item.removeprefix("0x")))) for item in answer["items"]]
            more = answer["next_height"] is not None
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise BadAnswerError(f"chain_listHandovers lacks something: {problem!r}") from None
        if steps:
            follow(known.committee, steps, self.genesis_hash, first=known.height)
            header = steps[-1].certificate.header
            known.check_passed(steps, header.height, self.genesis_hash)
            certifier = steps[-2].following if len(steps) > 1 else known.committee
            self._believe(_block_of(header, certifier, self.genesis_hash))
        if more and self._known().height <= known.height:
            raise BadAnswerError("chain_listHandovers promises more and does not go on")
        return more

    # ---- reads

    def header(self, height: int | None = None) -> Flow[Verified[Header]]:
        """Return a header."""
        proof, block, _ = yield from self._ask("chain_proveHeader", {}, height)
        return Verified(proof.header, block, proof.encode())

    def account(self, address: str, height: int | None = None) -> Flow[Verified[Balance]]:
        """Return an account's money after a block."""
        parse_address(address)
        proof, block, _ = yield from self._ask("account_get", {"address": address, "prove": True}, height)
        money = read_method(proof, _ASSET, "balance_of", [address])
        parts = (Motes(int(money[name])) for name in ("free", "held", "locked"))
        return Verified(Balance(block.height, *parts), block, proof.encode())

    def query(
        self, contract: str, method: str, args: Sequence[Json] | Mapping[str, Json] = (), height: int | None = None
    ) -> Flow[Verified[Json]]:
        """Return what a read method answers, in the JSON forms of the ABI: it is run here, on proven state."""
        given = dict(args) if isinstance(args, Mapping) else list(args)
        asked = {"contract": contract, "method": method, "args": given, "prove": True}
        proof, block, _ = yield from self._ask("contract_query", asked, height)
        return Verified(read_method(proof, contract, method, args), block, proof.encode())

    def state(self, contract: str, field: str, key: Json | None = None, height: int | None = None) -> Flow[Verified[Json]]:
        """Return a value that a contract stores, None where it is proven that there is none."""
        asked = {"contract": contract, "field": field, "prove": True, **({} if key is None else {"key": key})}
        proof, block, _ = yield from self._ask("state_get", asked, height)
        return Verified(read_value(proof, contract, field, key), block, proof.encode())

    def receipt(self, tx_id: str) -> Flow[Verified[Receipt]]:
        """Return the receipt of a committed transaction. Raises `NotFoundError` where there is none."""
        proof, block, answer = yield from self._ask("tx_get", {"id": tx_id, "prove": True}, None, of_any_height=True)
        receipt = Receipt.from_status(answer)
        if receipt.id != tx_id.lower():
            raise BadAnswerError("the answer is about another transaction", id=tx_id)
        receipt.check_against(proof, self.genesis_hash)
        return Verified(receipt, block, proof.encode())

    def _ask(
        self, method: str, params: Mapping[str, Json], height: int | None, *, of_any_height: bool = False
    ) -> Flow[tuple[Proof, TrustedBlock, Any]]:
        """Return the verified proof in an answer, the block it is about, and the answer."""
        if self._is_to_begin:
            yield from self.sync()
        known = self._known()
        asked = dict(params) if height is None else {**params, "height": height}
        try:
            answer = yield Call(method, {**asked, "trusted_height": known.height})
            proof = _proof_in(answer)
            block = proof.verify(self.genesis_hash, known)
        except StaleProofError:
            if not self._accept_old_epochs:
                raise
            answer = yield Call(method, asked)
            proof = _proof_in(answer)
            block = proof.verify(self.genesis_hash)
            if block.height >= known.height:  # of an old epoch, and not of the past: made with keys that have leaked
                raise
        if height is not None and block.height != height:
            raise BadAnswerError("the answer is about another height", expected=height, got=block.height)
        if height is None and not of_any_height:
            self._check_fresh(block, known)
        if block.height > known.height:
            self._believe(block)
        return proof, block, answer

    def _check_fresh(self, block: TrustedBlock, known: TrustedBlock) -> None:
        if block.height < known.height:
            raise BehindError(f"the node answers as of block {block.height}, and block {known.height} has been seen")
        age_s = time.time() - block.timestamp_ms / 1_000
        if self._max_age_s is not None and age_s > self._max_age_s:
            raise BehindError(f"the node's last block {block.height} is {age_s:.0f} s old, over {self._max_age_s:.0f} s")

    def _believe(self, block: TrustedBlock) -> None:
        self.newest = block
        if self._file is not None:
            trusted.save(self._file, block, self.genesis_hash)

    def _known(self) -> TrustedBlock:
        if self.newest is None:
            raise BadProofError("nothing is trusted yet", hint="call sync first")
        return self.newest


class BehindError(UnavailableError):
    """A node answers as of a time before what has been seen, or before what is recent enough."""

    def __init__(self, message: str) -> None:
        super().__init__("syncing", message, hint="ask again, or ask another node")


class LightClient:
    """Verified reads over HTTP, from one node or the first of several that answers. `start` is a block that is trusted already.

    Every method raises `InvalidInputError` for a proof that does not hold, `StaleProofError` for an older epoch than one it has
    seen (`accept_old_epochs=True` takes those, from genesis), and `BehindError` for a node that is behind.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        trusted_genesis: bytes | str,
        start: TrustedBlock | BlockReference | None = None,
        *,
        state_file: Path | None = None,
        accept_old_epochs: bool = False,
        max_age_s: float | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        self.chain = LightChain(
            trusted_genesis, start, state_file=state_file, accept_old_epochs=accept_old_epochs, max_age_s=max_age_s
        )
        self._client = Client(urls, timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @property
    def newest(self) -> TrustedBlock | None:
        """Return the newest block that was accepted."""
        return self.chain.newest

    def sync(self) -> TrustedBlock:
        """Follow the committees up to now and return the node's last block."""
        return self._client.run(self.chain.sync())

    def header(self, height: int | None = None) -> Verified[Header]:
        """Return a header, of the last block without a height."""
        return self._client.run(self.chain.header(height))

    def account(self, address: str, height: int | None = None) -> Verified[Balance]:
        """Return an account's money after a block."""
        return self._client.run(self.chain.account(address, height))

    def query(
        self, contract: str, method: str, args: Sequence[Json] | Mapping[str, Json] = (), height: int | None = None
    ) -> Verified[Json]:
        """Return what a read method answers; the contract is run here, on proven state."""
        return self._client.run(self.chain.query(contract, method, args, height))

    def state(self, contract: str, field: str, key: Json | None = None, height: int | None = None) -> Verified[Json]:
        """Return a value that a contract stores, None where it is proven that there is none."""
        return self._client.run(self.chain.state(contract, field, key, height))

    def receipt(self, tx_id: str) -> Verified[Receipt]:
        """Return the receipt of a committed transaction."""
        return self._client.run(self.chain.receipt(tx_id))


def _ordered(
    kept: TrustedBlock | None, start: TrustedBlock | BlockReference | None
) -> tuple[TrustedBlock | BlockReference | None, BlockReference | None]:
    """Return the newer of two blocks, to go on from, and the older one. Raises `ForkError` for two of one height."""
    if kept is None or start is None:
        return kept or start, None
    if kept.height == start.height:
        if kept.block_hash != start.block_hash:
            raise ForkError(kept.height, kept.block_hash, start.block_hash)
        return kept, None
    older, newer = (kept, start) if kept.height < start.height else (start, kept)
    return newer, BlockReference(older.height, older.block_hash)


def _block_of(header: Header, committee: Committee, genesis_hash: bytes) -> TrustedBlock:
    """Return the block of a header that `committee` is known to have certified."""
    return TrustedBlock(header.height, header.hash(genesis_hash), header.timestamp_ms, committee, header.next_committee_hash)


def _proof_in(answer: Json) -> Proof:
    """Return the proof in an answer. Raises `BadAnswerError` for no bytes at all, `InvalidInputError` for other bytes."""
    if isinstance(answer, dict) and answer.get("proof", b"") is None:
        raise NotFoundError("not_found", f"it is {answer.get('status')}: there is no receipt", hint="wait until it is final")
    try:
        data = bytes.fromhex(answer["proof"].removeprefix("0x"))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BadAnswerError("the answer holds no proof") from None
    return Proof.decode(data)
