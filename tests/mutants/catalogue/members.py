"""The members' contract (rule 13)."""

from typing import Final

from tests.mutants.mutant import Mutant

GOVERNANCE: Final = "vm/contracts/governance.py"
VOTING: Final = "vm/contracts/governance_voting.py"
DEEDS: Final = "vm/contracts/governance_deeds.py"
ACTIONS: Final = "vm/contracts/governance_actions.py"
REGISTER: Final = "vm/contracts/governance_members.py"
STATE: Final = "vm/contracts/governance_state.py"
KILLERS: Final = ("governance", "sim")

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "two-changes-in-a-block",
        "13: one change a block",
        REGISTER,
        "require(roster.changed_height < ctx.height,",
        "require(roster.changed_height <= ctx.height,",
        KILLERS,
    ),
    Mutant(
        "epoch-stands-still",
        "13: the committee's hash is of its epoch",
        REGISTER,
        "epoch=roster.epoch + 1, changed_height",
        "epoch=roster.epoch, changed_height",
        KILLERS,
    ),
    Mutant(
        "used-key-taken-again",
        "14: no key comes back",
        REGISTER,
        "require(key not in self.used_keys, GovernanceError.KEY_USED)",
        "require(self.used_keys.get(key) != '', GovernanceError.KEY_USED)",
        KILLERS,
    ),
    Mutant(
        "rotated-key-not-marked-used",
        "14: no key comes back",
        REGISTER,
        "        self._check_key(ctx, member_id, ctx.sender, key, possession)\n        self.used_keys[key] = member_id\n",
        "        self._check_key(ctx, member_id, ctx.sender, key, possession)\n",
        ("members", *KILLERS),
    ),
    Mutant(
        "rotated-certificate-not-marked-used",
        "14: no certificate comes back",
        REGISTER,
        "        self.used_certificates[fingerprint] = member_id\n        return fingerprint\n",
        "        return fingerprint\n",
        ("members", *KILLERS),
    ),
    Mutant(
        "observer-proposes-and-votes",
        "13: validators decide",
        REGISTER,
        "require(member.role is Role.VALIDATOR, GovernanceError.NOT_A_VALIDATOR, member_id=member.id)",
        "require(bool(member.id), GovernanceError.NOT_A_VALIDATOR, member_id=member.id)",
        KILLERS,
    ),
    Mutant(
        "nodes-not-told-of-a-change",
        "13: the committee follows the chain",
        REGISTER,
        "        self.roster.set(roster)\n        self._bump()\n",
        "        self.roster.set(roster)\n",
        KILLERS,
    ),
    Mutant(
        "removed-member-s-vote-counts",
        "13: the votes of those who vote now",
        VOTING,
        "return member is not None and member.role is Role.VALIDATOR and member.since_height <= vote.height",
        "return member is None or member.since_height <= vote.height",
        KILLERS,
    ),
    Mutant(
        "vote-comes-back-with-the-name",
        "13: who left and came back votes again",
        VOTING,
        "return member is not None and member.role is Role.VALIDATOR and member.since_height <= vote.height",
        "return member is not None and member.role is Role.VALIDATOR",
        KILLERS,
    ),
    Mutant(
        "member-votes-twice",
        "13: of several votes the last one counts",
        VOTING,
        "for vote in proposal.votes if vote.member_id != voter.id and self._counts(vote)]",
        "for vote in proposal.votes if self._counts(vote)]",
        KILLERS,
    ),
    Mutant(
        "decided-without-a-quorum",
        "13: a quorum decides",
        VOTING,
        "if approve and tally.approvals >= tally.need:",
        "if approve and tally.approvals >= tally.need - 1:",
        KILLERS,
    ),
    Mutant(
        "closed-proposal-voted-on",
        "13: a proposal is executed once",
        GOVERNANCE,
        "require(status is ProposalStatus.OPEN, GovernanceError.PROPOSAL_CLOSED, status=status)",
        "require(status is not None, GovernanceError.PROPOSAL_CLOSED, status=status)",
        KILLERS,
    ),
    Mutant(
        "expired-proposal-voted-on",
        "13: proposals expire",
        GOVERNANCE,
        "ctx.now_ms <= proposal.expires_ms,",
        "ctx.now_ms > 0,",
        KILLERS,
    ),
    Mutant(
        "promoted-without-attestation",
        "13: the observer's own attestation",
        ACTIONS,
        "attested = member.attested_height > 0 and age <= RECENT_BLOCKS",
        "attested = age <= RECENT_BLOCKS",
        KILLERS,
    ),
    Mutant(
        "promoted-by-an-old-attestation",
        "13: within the last 100 blocks",
        ACTIONS,
        "attested = member.attested_height > 0 and age <= RECENT_BLOCKS",
        "attested = member.attested_height > 0",
        KILLERS,
    ),
    Mutant(
        "attested-with-any-hash",
        "13: it shows that the observer follows the chain",
        DEEDS,
        "require(found == block_hash, GovernanceError.WRONG_HASH, height=height)",
        "require(bool(block_hash), GovernanceError.WRONG_HASH, height=height)",
        KILLERS,
    ),
    Mutant(
        "committee-below-four",
        "13: the arithmetic of n",
        ACTIONS,
        "require(n not in (1, FAULT_TOLERANT), GovernanceError.TOO_FEW_MEMBERS, have=n)",
        "require(n > 0, GovernanceError.TOO_FEW_MEMBERS, have=n)",
        KILLERS,
    ),
    Mutant(
        "stale-proposal-executed",
        "13: a proposal is about the member it named",
        ACTIONS,
        "require(member.since_height < created, GovernanceError.STALE_PROPOSAL,",
        "require(created > 0, GovernanceError.STALE_PROPOSAL,",
        KILLERS,
    ),
    Mutant(
        "one-member-rotates-in-every-block",
        "13: f members cannot take every block's one change",
        DEEDS,
        "_require_pause(ctx, member.changed.key_ms, ROTATION_MS,",
        "_require_pause(ctx, 0, ROTATION_MS,",
        KILLERS,
    ),
    Mutant(
        "committee-of-everybody",
        "13: observers do not vote",
        STATE,
        "tuple(_member(register, name) for name in roster.validators))",
        "tuple(_member(register, name) for name in sorted((*roster.validators, *roster.observers))))",
        KILLERS,
    ),
)
