"""What a member does to its own entry without a vote: attest, and replace its key, certificate or address (protocol, rule 13)."""

from dataclasses import replace
from typing import Final

from vm.contract import Context, require
from vm.contracts.deadlines import DAY_MS, MINUTE_MS
from vm.contracts.governance_events import AddressSet, CertificateRotated, KeyRotated, SyncAttested
from vm.contracts.governance_members import MemberRegister
from vm.contracts.governance_types import MAX_RETIRED, Certificates, GovernanceError, Retired, Role

GRACE_MS: Final = 7 * DAY_MS
"""How long a replaced certificate still opens connections."""
ROTATION_MS: Final = DAY_MS
"""How long a member keeps its key: each change is a committee that every receipt's proof must name for ever."""
CHANGE_MS: Final = MINUTE_MS
"""How long it keeps its certificate or address: each change has every node read all members and renew its TLS contexts."""


class MemberDeeds(MemberRegister):
    """Carries out what a member asks for alone. It has no methods to call."""

    def _attest(self, ctx: Context, height: int, block_hash: bytes) -> None:
        member = self._member_of(ctx.sender)
        require(member.role is Role.OBSERVER, GovernanceError.NOT_AN_OBSERVER, member_id=member.id)
        found = ctx.block_hash(height)
        require(found is not None, GovernanceError.UNKNOWN_BLOCK, height=height, tip=ctx.height - 1)
        require(found == block_hash, GovernanceError.WRONG_HASH, height=height)
        self.members[member.id] = replace(member, attested_height=max(height, member.attested_height))
        ctx.emit(SyncAttested(member.id, height))

    def _rotate_key(self, ctx: Context, new_key: bytes, possession: bytes) -> None:
        member = self._member_of(ctx.sender)
        _require_pause(ctx, member.changed.key_ms, ROTATION_MS, GovernanceError.ROTATED_TOO_SOON)
        self._take_key(ctx, member.id, new_key, possession)
        if member.role is Role.VALIDATOR:
            self._change_committee(ctx, self._roster())
        else:
            self._bump()
        changed = replace(member.changed, key_ms=ctx.now_ms)
        self.members[member.id] = replace(member, public_key=new_key, changed=changed)
        ctx.emit(KeyRotated(member.id, member.public_key, new_key))

    def _rotate_certificate(self, ctx: Context, certificate: bytes) -> None:
        member = self._member_of(ctx.sender)
        _require_pause(ctx, member.changed.certificate_ms, CHANGE_MS, GovernanceError.CHANGED_TOO_SOON)
        fingerprint = self._take_certificate(ctx, certificate, member.id)
        held = self.certificates[member.id]
        retired = tuple(item for item in held.retired if item.until_ms >= ctx.now_ms)
        require(len(retired) < MAX_RETIRED, GovernanceError.TOO_MANY_CERTIFICATES, limit=MAX_RETIRED)
        until_ms = ctx.now_ms + GRACE_MS
        self.certificates[member.id] = Certificates(certificate, (*retired, Retired(held.current, until_ms)))
        changed = replace(member.changed, certificate_ms=ctx.now_ms)
        self.members[member.id] = replace(member, certificate_sha256=fingerprint, changed=changed)
        self._bump()
        ctx.emit(CertificateRotated(member.id, fingerprint, until_ms))

    def _set_address(self, ctx: Context, p2p_address: str) -> None:
        member = self._member_of(ctx.sender)
        _require_pause(ctx, member.changed.address_ms, CHANGE_MS, GovernanceError.CHANGED_TOO_SOON)
        self._take_address(ctx, p2p_address, member.id)
        del self.addresses[member.p2p_address]
        changed = replace(member.changed, address_ms=ctx.now_ms)
        self.members[member.id] = replace(member, p2p_address=p2p_address, changed=changed)
        self._bump()
        ctx.emit(AddressSet(member.id, p2p_address))


def _require_pause(ctx: Context, last_ms: int, pause_ms: int, error: GovernanceError) -> None:
    """Fail with when it may be done again, unless it was never done (0) or so long ago."""
    next_ms = last_ms + pause_ms
    require(last_ms == 0 or ctx.now_ms >= next_ms, error, now_ms=ctx.now_ms, next_ms=next_ms)
