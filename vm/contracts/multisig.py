"""Acting for an account of several keys, whose signers approve on the chain, each by a transaction of its own.

    propose -> approve ... approve -> the approval that reaches the threshold makes the calls, all or none, as the account

The account is that of the policy "t of [keys]", the same that a transaction signed by t of them has (docs/protocol.md). A signer
is the account "1 of [key]" of one of the keys. Nothing need be registered: the proposal names the policy.
"""

from dataclasses import replace
from typing import Annotated, Final

from ledger.policy import KeyPolicy, format_address
from vm.contract import U64, Address, Bounds, Context, Contract, Item, Map, read, require, write
from vm.contracts.deadlines import expiry
from vm.contracts.multisig_types import (
    EVENTS,
    MAX_OPEN,
    MAX_OPEN_BY_KEY,
    Approved,
    Closed,
    Collection,
    CollectionInfo,
    CollectionStatus,
    MultisigError,
    OpenCollection,
    Proposed,
    Reference,
    Rejected,
    SignerPolicy,
    Withdrawn,
)
from vm.contracts.planned_calls import PlannedCalls, check_calls
from vm.errors import ContractError

KEY_GAS: Final = 4_000
"""The address of a key, which a signer is told by."""

OpenCollections = Annotated[tuple[OpenCollection, ...], Bounds(0, MAX_OPEN)]


class Multisig(Contract, errors=MultisigError, events=EVENTS):
    """Collects approvals of an account's signers on the chain and then acts for the account."""

    collections: Map[U64, Collection]
    collection_count: Item[U64]
    collection_calls: Map[U64, PlannedCalls]  # while it is open, and once it is executed
    open: Map[Address, OpenCollections]  # by the account to act for

    @write
    def propose(
        self, ctx: Context, policy: SignerPolicy, calls: PlannedCalls, reference: Reference, expires_ms: U64 | None
    ) -> U64:
        """Propose that the policy's account makes these calls, all or none, and approve of it. Returns the proposal's id.

        Where one approval is enough they are made at once.
        Errors: BAD_POLICY, NOT_A_SIGNER, BAD_CALLS, BAD_EXPIRY, TOO_MANY_PROPOSALS, and what the calls fail with where they are
        made. Emits Proposed, Approved, and as `approve` does.

        Args:
            reference: a business id, or empty
            expires_ms: the last block time to approve at, from a minute to 30 days ahead; 7 days from now if not given
        """
        account, key = _address_of(ctx, policy), _signer(ctx, policy)
        digest = check_calls(ctx, calls, MultisigError.BAD_CALLS)
        until_ms = expiry(ctx, expires_ms, MultisigError.BAD_EXPIRY)
        listed = self._clear(ctx, account)
        own = sum(item.proposer == key for item in listed)
        require(own < MAX_OPEN_BY_KEY, MultisigError.TOO_MANY_PROPOSALS, own=own, limit=MAX_OPEN_BY_KEY)
        number = self.collection_count.get(0) + 1
        self.collection_count.set(number)
        self.collection_calls[number] = calls
        self.open[account] = (*listed, OpenCollection(number, key, until_ms))
        ctx.emit(Proposed(number, account, ctx.sender, until_ms, reference))
        created, status = (ctx.height, ctx.now_ms), CollectionStatus.OPEN
        made = Collection(number, account, policy, key, reference, digest, *created, until_ms, status, (), (), None)
        self._approve(ctx, made, key)
        return number

    @write
    def approve(self, ctx: Context, proposal_id: U64) -> CollectionStatus:
        """Approve of an open proposal, also after having rejected it; the approval that is enough makes the calls.

        Where one of them fails, the approval fails and the proposal stays open. Returns how it stands then.
        Errors: UNKNOWN_PROPOSAL, PROPOSAL_CLOSED, PROPOSAL_EXPIRED, NOT_A_SIGNER, and what the calls fail with. Emits Approved,
        and where it is enough Closed and what the calls emit.
        """
        found, key = self._votable(ctx, proposal_id)
        return self._approve(ctx, found, key)

    @write
    def reject(self, ctx: Context, proposal_id: U64) -> CollectionStatus:
        """Be against an open proposal, also after having approved of it; it is closed once the threshold is out of reach.

        Returns how it stands then. Errors: UNKNOWN_PROPOSAL, PROPOSAL_CLOSED, PROPOSAL_EXPIRED, NOT_A_SIGNER. Emits Rejected,
        Closed.
        """
        found, key = self._votable(ctx, proposal_id)
        against = _with(found.policy, found.rejections, key)
        found = replace(found, approvals=_without(found.approvals, key), rejections=against)
        ctx.emit(Rejected(found.id, ctx.sender, len(against)))
        if len(found.policy.keys) - len(against) >= found.policy.threshold:
            return self._keep(found)
        return self._close(ctx, found, CollectionStatus.REJECTED)

    @write
    def revoke(self, ctx: Context, proposal_id: U64) -> None:
        """Take back that one approved of an open proposal, or rejected it.

        Errors: UNKNOWN_PROPOSAL, PROPOSAL_CLOSED, PROPOSAL_EXPIRED, NOT_A_SIGNER, NOTHING_SAID. Emits Withdrawn.
        """
        found, key = self._votable(ctx, proposal_id)
        require(key in (*found.approvals, *found.rejections), MultisigError.NOTHING_SAID)
        self._keep(replace(found, approvals=_without(found.approvals, key), rejections=_without(found.rejections, key)))
        ctx.emit(Withdrawn(found.id, ctx.sender))

    @write
    def cancel(self, ctx: Context, proposal_id: U64) -> None:
        """Take one's own open proposal back. Errors: those of `reject`, NOT_PERMITTED (another's). Emits Closed."""
        found, key = self._votable(ctx, proposal_id)
        require(key == found.proposer, MultisigError.NOT_PERMITTED)
        self._close(ctx, found, CollectionStatus.CANCELLED)

    @read
    def get(self, ctx: Context, proposal_id: U64) -> CollectionInfo:
        """Return a proposal of any time with what its signers said. Errors: UNKNOWN_PROPOSAL."""
        found = self._collection(proposal_id)
        if found.status is CollectionStatus.OPEN and ctx.now_ms > found.expires_ms:
            found = replace(found, status=CollectionStatus.EXPIRED)
        return CollectionInfo(found, self.collection_calls.get(proposal_id))

    @read
    def open_of(self, ctx: Context, account: Address) -> Annotated[tuple[U64, ...], Bounds(0, MAX_OPEN)]:
        """Return the ids of the proposals to act for an account that can be approved, oldest first."""
        return tuple(item.id for item in self.open.get(account, ()) if item.expires_ms >= ctx.now_ms)

    @read
    def address_of(self, ctx: Context, policy: SignerPolicy) -> Address:
        """Return the account of a policy. Errors: BAD_POLICY."""
        return _address_of(ctx, policy)

    @read
    def last_proposal(self) -> U64:
        """Return the id of the newest proposal, or 0."""
        return self.collection_count.get(0)

    def _collection(self, proposal_id: int) -> Collection:
        return self.collections.require(proposal_id, MultisigError.UNKNOWN_PROPOSAL, proposal_id=proposal_id)

    def _votable(self, ctx: Context, proposal_id: int) -> tuple[Collection, bytes]:
        """Return an open proposal and the key of the signer who calls."""
        found = self._collection(proposal_id)
        require(found.status is CollectionStatus.OPEN, MultisigError.PROPOSAL_CLOSED, status=found.status)
        right = ctx.now_ms <= found.expires_ms
        require(right, MultisigError.PROPOSAL_EXPIRED, now_ms=ctx.now_ms, expires_ms=found.expires_ms)
        return found, _signer(ctx, found.policy)

    def _approve(self, ctx: Context, found: Collection, key: bytes) -> CollectionStatus:
        approvals, threshold = _with(found.policy, found.approvals, key), found.policy.threshold
        found = replace(found, approvals=approvals, rejections=_without(found.rejections, key))
        ctx.emit(Approved(found.id, ctx.sender, len(approvals), threshold))
        if len(approvals) < threshold:
            return self._keep(found)
        status = self._close(ctx, found, CollectionStatus.EXECUTED)  # before the calls: none can get at it again
        for call in self.collection_calls[found.id]:
            ctx.act_for(found.account, call.contract, call.method, call.args)
        return status

    def _keep(self, found: Collection) -> CollectionStatus:
        self.collections[found.id] = found
        return found.status

    def _close(self, ctx: Context, found: Collection, status: CollectionStatus) -> CollectionStatus:
        if status is not CollectionStatus.EXECUTED:
            del self.collection_calls[found.id]
        left = tuple(item for item in self.open.get(found.account, ()) if item.id != found.id)
        self._save_open(found.account, left)
        ctx.emit(Closed(found.id, found.account, status))
        return self._keep(replace(found, status=status, closed_height=ctx.height))

    def _clear(self, ctx: Context, account: Address) -> tuple[OpenCollection, ...]:
        """Take what has expired off an account's list and return the rest."""
        listed = self.open.get(account, ())
        left = tuple(item for item in listed if item.expires_ms >= ctx.now_ms)
        if left != listed:
            self._save_open(account, left)
        for item in listed:
            if item.expires_ms < ctx.now_ms:
                del self.collection_calls[item.id]
                ctx.emit(Closed(item.id, account, CollectionStatus.EXPIRED))
        return left

    def _save_open(self, account: Address, left: tuple[OpenCollection, ...]) -> None:
        if left:
            self.open[account] = left
        else:
            del self.open[account]


def _address_of(ctx: Context, policy: SignerPolicy) -> Address:
    """Return the account of a policy, or fail with BAD_POLICY."""
    keys = policy.keys
    right = 1 <= policy.threshold <= len(keys) and tuple(sorted(set(keys))) == keys
    require(right, MultisigError.BAD_POLICY, threshold=policy.threshold, keys=len(keys))
    ctx.charge(KEY_GAS)
    return KeyPolicy(policy.threshold, keys).address


def _signer(ctx: Context, policy: SignerPolicy) -> bytes:
    """Return the key of the policy whose account calls, or fail with NOT_A_SIGNER."""
    ctx.charge(KEY_GAS * len(policy.keys))
    for key in policy.keys:
        if KeyPolicy.single(key).address == ctx.sender:
            return key
    raise ContractError(MultisigError.NOT_A_SIGNER, account=format_address(ctx.sender))


def _with(policy: SignerPolicy, keys: tuple[bytes, ...], key: bytes) -> tuple[bytes, ...]:
    """Return the keys and one more, in the order of the policy."""
    return tuple(each for each in policy.keys if each == key or each in keys)


def _without(keys: tuple[bytes, ...], key: bytes) -> tuple[bytes, ...]:
    return tuple(each for each in keys if each != key)
