"""A chain of the VM harness with the governance contract: members by name, each with its account, and hashes of its blocks."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final

from ledger.block import Receipt, Status
from ledger.codec import encode
from ledger.committee import Committee, Member
from ledger.crypto import SIGNATURE_BYTES, public_key
from ledger.parameters import ChainParameters
from ledger.transaction import Transaction
from ledger.types import Height, MemberId
from tests.vm_harness import Account, Chain, account
from vm.chain_rules import ChainRules, read_rules
from vm.context import RECENT_BLOCKS
from vm.contracts.governance import Governance
from vm.contracts.governance_possession import prove_possession
from vm.contracts.governance_state import Membership, read_membership
from vm.contracts.governance_types import NAME, Candidate, MemberRecord, Tally
from vm.contracts.planned_calls import PlannedCall
from vm.executor import BlockExecution

_PARAMETERS: Final = ChainParameters()
_SEEDS: dict[bytes, bytes] = {}


def key_of(label: str) -> bytes:
    """Return the consensus key that `label` stands for."""
    seed = sha256(f"consensus {label}".encode()).digest()
    key = public_key(seed)
    _SEEDS[key] = seed
    return key


def rotation(name: str, label: str) -> tuple[bytes, bytes]:
    """Return what a member gives `rotate_key` for the key that `label` stands for."""
    return key_of(label), possession(name, key_of(label), name)


def possession(owner: str, key: bytes, member_id: str) -> bytes:
    """Return the signature that lets `owner`'s account have a key as `member_id`; nonsense for what `key_of` did not make."""
    seed = _SEEDS.get(key)
    return bytes(SIGNATURE_BYTES) if seed is None else prove_possession(seed, member_id, voter(owner).address)


def voter(name: str) -> Account:
    """Return a member's governance account."""
    return account(f"governance of {name}")


def member(name: str, host: str = "example") -> Member:
    """Return a member's record as genesis has it."""
    return Member(MemberId(name), key_of(name), f"certificate of {name}".encode(), f"{name}.{host}:26656")


def candidate(name: str, **changes: Any) -> Candidate:
    """Return what `name` hands over to be added, with the signature of whatever key it names."""
    made, key = member(name), changes.get("public_key", key_of(name))
    signature = possession(name, key, name)
    return replace(Candidate(key, made.certificate, made.p2p_address, voter(name).address, signature), **changes)


def block_hash(height: int) -> bytes:
    """Return the hash that the block of this height has here."""
    return sha256(f"block {height}".encode()).digest()


class GovernanceChain(Chain):
    """A chain whose committee at genesis is `names`; each `send` is a block of its own."""

    def __init__(
        self,
        names: Sequence[str],
        *,
        without_account: Sequence[str] = (),
        host: str = "example",
        parameters: ChainParameters = _PARAMETERS,
    ) -> None:
        self.genesis_committee = Committee(0, tuple(member(name, host) for name in sorted(names)))
        accounts = tuple((name, voter(name).address) for name in names if name not in without_account)
        founders = tuple(each.to_value() for each in self.genesis_committee.members)
        super().__init__({NAME: Governance}, genesis={NAME: (founders, parameters.to_value(), accounts)})
        self._remember()

    def block(self, *transactions: Transaction) -> BlockExecution:
        execution = super().block(*transactions)
        self._remember()
        return execution

    def _remember(self) -> None:
        """Tell the next block of its ancestors and of what is switched off, as the node does."""
        heights = range(max(0, self.context.height - RECENT_BLOCKS), self.context.height)
        hashes = MappingProxyType({Height(height): block_hash(height) for height in heights})
        self.context = replace(self.context, recent_hashes=hashes, disabled=self.rules.disabled)

    @property
    def height(self) -> int:
        """The height of the next block."""
        return self.context.height

    @property
    def membership(self) -> Membership:
        """What a node reads from the state."""
        return read_membership(self.state)

    @property
    def rules(self) -> ChainRules:
        """What a node goes by in the next block."""
        return read_rules(self.state, _PARAMETERS)

    @property
    def committee(self) -> Committee:
        return self.membership.committee

    @property
    def names(self) -> list[str]:
        return [each.id for each in self.committee.members]

    def ok(self, sender: Account, method: Any, *args: Any) -> Any:
        """Send a call that must succeed and return its result."""
        receipt = self.send(sender, method, *args)
        assert receipt.status is Status.SUCCEEDED, receipt.error
        return receipt.results[0]

    def code(self, sender: Account, method: Any, *args: Any) -> str:
        """Send a call that must fail and return its code; it must leave no trace."""
        before = dict(self.state.iterate())
        receipt = self.send(sender, method, *args)
        assert dict(self.state.iterate()) == before
        return code_of(receipt)

    def record(self, name: str) -> MemberRecord:
        found: MemberRecord = self.query(Governance.member, name)
        return found

    def tally(self, proposal_id: int) -> Tally:
        found: Tally = self.query(Governance.proposal, proposal_id)
        return found

    def decide(self, names: Sequence[str], method: Any, *args: Any) -> int:
        """Propose by the first and approve by the others, each in a block of its own. Returns the proposal's id."""
        proposal_id: int = self.ok(voter(names[0]), method, *args)
        for name in names[1:]:
            self.ok(voter(name), Governance.vote, proposal_id, True)
        return proposal_id

    def plan(self, method: Any, *args: Any) -> PlannedCall:
        """Return a call as proposals hold it."""
        call = self.call(method, *args)
        return PlannedCall(call.contract, call.method, encode(call.args))

    def enact(self, names: Sequence[str], *calls: PlannedCall) -> int:
        """Let `names` have the governance account make these calls."""
        return self.decide(names, Governance.propose_calls, calls, "", None)

    def add(self, names: Sequence[str], new: str) -> None:
        """Let `names` add an observer."""
        self.decide(names, Governance.propose_add_observer, new, candidate(new), "", None)

    def attest(self, name: str) -> None:
        """Let an observer attest to the tip."""
        self.ok(voter(name), Governance.attest_synced, self.height - 1, block_hash(self.height - 1))

    def promote(self, names: Sequence[str], new: str) -> None:
        """Let `names` give an observer a vote."""
        self.attest(new)
        self.decide(names, Governance.propose_promote, new, "", None)

    def idle(self, blocks: int) -> None:
        """Let empty blocks pass."""
        for _ in range(blocks):
            self.block()


def code_of(receipt: Receipt) -> str:
    """Return the code of a failed receipt."""
    assert receipt.error is not None, "it was to fail"
    return receipt.error.code
