"""The register of members that the governance contract keeps: who they are, and that nothing of theirs is used twice."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Final

from ledger.committee import quorum_size
from ledger.crypto import is_valid_public_key
from ledger.policy import format_address
from vm.contract import U64, Address, Bytes32, Context, Contract, Item, Map, require
from vm.contracts.asset import has_keys
from vm.contracts.governance_events import CommitteeChanged
from vm.contracts.governance_possession import POSSESSION_GAS, proves_possession
from vm.contracts.governance_types import (
    MEMBER_ID,
    NAME,
    Candidate,
    Certificates,
    Changed,
    GovernanceError,
    MemberName,
    MemberRecord,
    NodeRecord,
    Nominee,
    OpenProposal,
    PeerAddress,
    Reservation,
    Role,
    Roster,
    is_host_port,
)
from vm.storage import storage_key

KEY_CHECK_GAS: Final = 60_000
REVISION_KEY: Final = storage_key(NAME, "revision")
"""The state key that changes whenever a member, its key, certificate, address or role does."""

_NOBODY: Final = Roster(0, 0, (), ())
_NEVER: Final = Changed(0, 0, 0)


class MemberRegister(Contract):
    """Storage of the members, with the checks and writes that keep it consistent. It has no methods to call."""

    roster: Item[Roster]
    revision: Item[U64]  # counts everything a node must look at again: see `REVISION_KEY`
    members: Map[MemberName, MemberRecord]
    certificates: Map[MemberName, Certificates]
    accounts: Map[Address, MemberName]
    addresses: Map[PeerAddress, MemberName]
    used_keys: Map[Bytes32, MemberName]  # for ever: light clients assume that no key comes back
    used_certificates: Map[Bytes32, MemberName]
    open: Item[tuple[OpenProposal, ...]]

    def _change_committee(self, ctx: Context, roster: Roster) -> None:
        """Store what is another committee from the next block on."""
        require(roster.changed_height < ctx.height, GovernanceError.ONE_CHANGE_A_BLOCK, height=ctx.height)
        changed = replace(roster, epoch=roster.epoch + 1, changed_height=ctx.height)
        self._save_roster(changed)
        n = len(changed.validators)
        ctx.emit(CommitteeChanged(changed.epoch, n, quorum_size(n)))

    def _seat(self, new: NodeRecord, account: Address | None, role: Role, height: int) -> None:
        """Store a member that was checked."""
        fingerprint = sha256(new.certificate).digest()
        self.members[new.id] = MemberRecord(
            new.id, role, new.public_key, fingerprint, new.p2p_address, account, height, 0, _NEVER
        )
        self.certificates[new.id] = Certificates(new.certificate, ())
        self.addresses[new.p2p_address] = new.id
        self.used_keys[new.public_key] = new.id
        self.used_certificates[fingerprint] = new.id
        if account is not None:
            self.accounts[account] = new.id

    def _roster(self) -> Roster:
        return self.roster.get(_NOBODY)

    def _save_roster(self, roster: Roster) -> None:
        self.roster.set(roster)
        self._bump()

    def _bump(self) -> None:
        self.revision.set(self.revision.get(0) + 1)

    def _member(self, member_id: str) -> MemberRecord:
        return self.members.require(member_id, GovernanceError.UNKNOWN_MEMBER, member_id=member_id)

    def _member_of(self, account: Address) -> MemberRecord:
        name = self.accounts.require(account, GovernanceError.NOT_A_MEMBER, account=format_address(account))
        return self.members[name]

    def _voter(self, ctx: Context) -> MemberRecord:
        member = self._member_of(ctx.sender)
        require(member.role is Role.VALIDATOR, GovernanceError.NOT_A_VALIDATOR, member_id=member.id)
        return member

    def _check_candidate(self, ctx: Context, member_id: str, candidate: Candidate) -> None:
        """Fail where the candidate itself is not as it must be, whoever else is there."""
        require(MEMBER_ID.fullmatch(member_id) is not None, GovernanceError.BAD_MEMBER_ID)
        require(has_keys(candidate.account), GovernanceError.BAD_ACCOUNT, account=format_address(candidate.account))
        require(bool(candidate.certificate), GovernanceError.BAD_CERTIFICATE)
        require(is_host_port(candidate.p2p_address), GovernanceError.BAD_ADDRESS)
        self._check_key(ctx, member_id, candidate.account, candidate.public_key, candidate.possession)

    def _check_nominee(self, member_id: str, nominee: Nominee) -> None:
        """Fail where something of the nominee is or was another's. What other proposals want is for the voters to weigh."""
        account = nominee.account
        require(member_id not in self.members, GovernanceError.MEMBER_EXISTS, member_id=member_id)
        require(account not in self.accounts, GovernanceError.ACCOUNT_TAKEN, account=format_address(account))
        self._check_key_unused(nominee.public_key)
        self._check_certificate_unused(nominee.certificate_sha256)
        self._check_address_free(nominee.p2p_address)

    def _check_key(self, ctx: Context, member_id: str, account: Address, key: bytes, possession: bytes) -> None:
        ctx.charge(KEY_CHECK_GAS)
        require(is_valid_public_key(key), GovernanceError.BAD_KEY)
        ctx.charge(POSSESSION_GAS)
        proven = proves_possession(possession, member_id, account, key)
        require(proven, GovernanceError.BAD_POSSESSION, member_id=member_id, account=format_address(account))

    def _check_key_unused(self, key: bytes) -> None:
        require(key not in self.used_keys, GovernanceError.KEY_USED)

    def _take_key(self, ctx: Context, member_id: str, key: bytes, possession: bytes) -> None:
        self._check_key_unused(key)
        self._check_key(ctx, member_id, ctx.sender, key, possession)
        self.used_keys[key] = member_id

    def _check_certificate_unused(self, fingerprint: bytes) -> None:
        require(fingerprint not in self.used_certificates, GovernanceError.CERTIFICATE_USED)

    def _take_certificate(self, ctx: Context, certificate: bytes, member_id: str) -> bytes:
        """Return the fingerprint of what nobody has or had. X.509 is left to the nodes, which do not parse it alike."""
        require(bool(certificate), GovernanceError.BAD_CERTIFICATE)
        fingerprint = sha256(certificate).digest()
        self._check_certificate_unused(fingerprint)
        wanted = any(each.certificate_sha256 == fingerprint for each in self._reserved(ctx, member_id))
        require(not wanted, GovernanceError.CERTIFICATE_USED)
        self.used_certificates[fingerprint] = member_id
        return fingerprint

    def _check_address_free(self, p2p_address: str) -> None:
        require(p2p_address not in self.addresses, GovernanceError.ADDRESS_TAKEN, p2p_address=p2p_address)

    def _take_address(self, ctx: Context, p2p_address: str, member_id: str) -> None:
        require(is_host_port(p2p_address), GovernanceError.BAD_ADDRESS)
        self._check_address_free(p2p_address)
        wanted = any(each.p2p_address == p2p_address for each in self._reserved(ctx, member_id))
        require(not wanted, GovernanceError.ADDRESS_TAKEN, p2p_address=p2p_address)
        self.addresses[p2p_address] = member_id

    def _reserved(self, ctx: Context, member_id: str) -> Iterator[Reservation]:
        """Yield what open proposals want for others, who are to join: `member_id` may not take it before that is decided."""
        for item in self.open.get(()):
            if item.reserved is not None and item.reserved.member_id != member_id and item.expires_ms >= ctx.now_ms:
                yield item.reserved
