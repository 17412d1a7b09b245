"""A chain on which there is something to prove: payments, a failure, and two changes of the committee on the way."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ledger.block import Status
from ledger.claims import StateClaim, StateEntry
from ledger.codec import Value
from ledger.proof import Proof
from ledger.transaction import Call, Transaction
from ledger.types import Height, MemberId
from tests.memory_node import FAUCET_SEED, MemoryNode
from tests.vm_harness import account
from vm.contracts.asset import balance_key

ALICE: Final = account("alice").address
NOBODY: Final = account("nobody at all").address


class ProofChain:
    """Six members at genesis, of which two are removed; a payment before, between and after, and three in the last block."""

    def __init__(self, path: Path) -> None:
        self.node = MemoryNode(path, members=6)
        self.payments: list[Transaction] = [self.pay(5)]
        self.remove(5)
        self.payments.append(self.pay(7))
        self.remove(4)
        self.payments.append(self.pay(11))
        self.together = self.pay_together(1, 2, 3)

    @property
    def genesis_hash(self) -> bytes:
        return self.node.genesis_hash

    @property
    def tip(self) -> Height:
        return self.node.tip.height

    def send(self, seed: bytes, *calls: Call) -> Transaction:
        """Commit a transaction in a block of its own; it must succeed."""
        transaction = self.node.sign(seed, calls, gas_limit=2_000_000)
        [answer] = asyncio.run(self.node.submit([transaction.raw]))
        assert answer.error is None, answer.error
        receipt = self.node.transaction_status(transaction.id).receipt
        assert receipt is not None
        assert receipt.status is Status.SUCCEEDED, receipt.error
        return transaction

    def pay(self, amount: int) -> Transaction:
        """Commit a payment to Alice."""
        return self.send(FAUCET_SEED, Call("asset", "transfer", (ALICE, amount)))

    def pay_together(self, *amounts: int) -> list[Transaction]:
        """Commit several payments to Alice in one block, in this order."""
        node = self.node
        sent = [node.sign(FAUCET_SEED, (Call("asset", "transfer", (ALICE, amount)),)) for amount in amounts]
        node.auto = False
        answers = asyncio.run(node.submit([transaction.raw for transaction in sent]))
        node.auto = True
        assert all(answer.error is None for answer in answers)
        node.commit()
        return sent

    def remove(self, index: int) -> None:
        """Have the other members remove one of those of genesis."""
        name = self.node.keys[index].member.id
        self._govern(0, "propose_remove", name, "", None)
        proposal = self.node.query("governance", "last_proposal", ())
        voter = 1
        while self.node.committee.get(MemberId(name)) is not None:
            self._govern(voter, "vote", proposal, True)
            voter += 1

    def _govern(self, index: int, method: str, *args: Value) -> None:
        self.send(self.node.keys[index].governance_seed, Call("governance", method, args))

    # ---- proofs

    def state(self, keys: Sequence[bytes], height: Height | None = None, trusted: Height | None = None) -> Proof:
        """Return the proof of raw keys as of a height."""
        version = self.node.state_at(self.tip if height is None else height)
        entries = tuple(StateEntry(key, version.get(key), version.prove(key)) for key in sorted(keys))
        return self.node.prove(version.header.height, StateClaim(entries), trusted)

    def receipt(self, payment: int = -1, trusted: Height | None = None) -> Proof:
        """Return the proof of one of the payments."""
        proof = asyncio.run(self.node.prove_receipt(self.payments[payment].id, trusted))
        assert proof is not None
        return proof

    def of_every_kind(self) -> dict[str, Proof]:
        """Return a proof of each kind of claim."""
        _, keys = self.node.query_noting_reads("governance", "committee", (), self.node.state_at(self.tip))
        return {
            "receipt": self.receipt(),
            "receipt before all changes": self.receipt(0),
            "account": self.state([balance_key(ALICE)]),
            "absent account": self.state([balance_key(NOBODY)]),
            "account of the past": self.state([balance_key(ALICE)], Height(1)),
            "account at genesis": self.state([balance_key(ALICE)], Height(0)),
            "query": self.state(keys),
            "header": self.state([]),
            "short": self.state([balance_key(ALICE)], trusted=Height(1)),
        }


def trusted_at(chain: ProofChain, height: Height) -> Any:
    """Return a block as somebody trusts it who has checked it from genesis."""
    return chain.state([], height).verify(chain.genesis_hash)
