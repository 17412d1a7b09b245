"""The members as nodes need them, read from a state without executing anything."""

from collections.abc import Mapping
from dataclasses import dataclass

from ledger.committee import Committee, Member
from ledger.errors import NotFoundError
from ledger.types import MemberId
from vm import gas
from vm.contracts.governance_members import REVISION_KEY, MemberRegister
from vm.contracts.governance_types import NAME
from vm.gas import GasMeter
from vm.overlay import Overlay, StateReader
from vm.storage import Storage


@dataclass(frozen=True, slots=True)
class RetiredCertificate:
    """A certificate that its member has replaced; it opens connections while the tip's time is at most `until_ms`."""

    certificate: bytes
    member_id: MemberId
    until_ms: int


@dataclass(frozen=True, slots=True)
class Membership:
    """Everybody who may connect: the committee of the next block, the observers, and certificates in their grace period."""

    committee: Committee
    observers: tuple[Member, ...]
    retired: tuple[RetiredCertificate, ...]


class NoMembershipError(NotFoundError):
    """The state is of a chain without the governance contract."""

    def __init__(self) -> None:
        super().__init__("not_found", "the state names no members", hint="is this the state of another chain?")


def deciding_vote_gas(members: int) -> int:
    """Return the gas that the deciding vote in a committee of this size may take: long records, everybody's proposal open."""
    return 300_000 + 17_000 * members


def touches_membership(changes: Mapping[bytes, bytes | None]) -> bool:
    """Return whether a block with these state changes may have changed what `read_membership` says."""
    return REVISION_KEY in changes


def read_membership(state: StateReader) -> Membership:
    """Return the members as of a state (`get(key) -> bytes | None`): that after block h has the committee of h + 1.

    Certificates past their grace period are among the retired ones until their member's next rotation: compare the times.
    Raises `NoMembershipError`.
    """
    register = MemberRegister(NAME, Storage(Overlay(state), GasMeter(gas.UNLIMITED), frozen=True))
    roster = register.roster.get()
    if roster is None:
        raise NoMembershipError
    committee = Committee(roster.epoch, tuple(_member(register, name) for name in roster.validators))
    observers = tuple(_member(register, name) for name in roster.observers)
    retired = tuple(
        RetiredCertificate(item.certificate, MemberId(name), item.until_ms)
        for name in (*roster.validators, *roster.observers)
        for item in register.certificates[name].retired
    )
    return Membership(committee, observers, retired)


def _member(register: MemberRegister, name: str) -> Member:
    record = register.members[name]
    return Member(MemberId(name), record.public_key, register.certificates[name].current, record.p2p_address)
