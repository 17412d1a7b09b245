"""What the members' contract must remember for ever, beside what `test_governance` says of it.

A planted bug of `tests.mutants` that no other test saw has its test here.
"""

from tests.governance_chain import GovernanceChain, rotation, voter
from vm.contracts.governance import Governance
from vm.contracts.governance_deeds import CHANGE_MS, ROTATION_MS


def test_key_that_somebody_rotated_to_is_used_for_ever() -> None:
    """Two members with one key would be two votes for who holds it, and no node could even form that committee."""
    chain = GovernanceChain("abcd")
    chain.ok(voter("b"), Governance.rotate_key, *rotation("b", "b2"))
    assert chain.code(voter("c"), Governance.rotate_key, *rotation("c", "b2")) == "KEY_USED"
    chain.advance(ROTATION_MS)
    chain.ok(voter("b"), Governance.rotate_key, *rotation("b", "b3"))
    assert chain.code(voter("c"), Governance.rotate_key, *rotation("c", "b2")) == "KEY_USED", "also when nobody has it any more"


def test_certificate_that_somebody_rotated_to_is_used_for_ever() -> None:
    """One certificate is one member on the wire."""
    chain = GovernanceChain("abcd")
    for certificate in (b"new", b"newer"):
        chain.ok(voter("b"), Governance.rotate_certificate, certificate)
        chain.advance(CHANGE_MS)
    for certificate in (b"new", b"newer"):
        assert chain.code(voter("c"), Governance.rotate_certificate, certificate) == "CERTIFICATE_USED"
