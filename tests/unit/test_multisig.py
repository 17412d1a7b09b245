"""The multisig contract: who may say what when, what is done then, and every way it refuses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ledger.block import Receipt, Status
from ledger.codec import encode
from ledger.crypto import public_key
from ledger.errors import DatacarError
from ledger.policy import MAX_POLICY_KEYS, KeyPolicy
from ledger.transaction import MAX_ARGS, Call, TransactionBody, chain_tag_of
from ledger.types import Address, Motes
from tests.vm_harness import GENESIS_HASH, Account, Chain, account
from vm.context import MAX_DEPTH
from vm.contract import U32, U64, Context, Contract, Map, write
from vm.contracts.asset import Asset
from vm.contracts.deadlines import DEFAULT_EXPIRY_MS, MAX_EXPIRY_MS, MIN_EXPIRY_MS
from vm.contracts.multisig import KEY_GAS, Multisig
from vm.contracts.multisig_types import (
    MAX_OPEN_BY_KEY,
    NAME,
    CollectionInfo,
    CollectionStatus,
    MultisigError,
    SignerPolicy,
)
from vm.contracts.planned_calls import MAX_CALLS_BYTES, PlannedCall

ANN, BEA, CAT = (account(name) for name in ("ann", "bea", "cat"))
STRANGER, SHOP = account("stranger"), account("shop")


def key_of(who: Account) -> bytes:
    return public_key(who.seed)


def policy_of(threshold: int, *signers: Account) -> SignerPolicy:
    return SignerPolicy(threshold, tuple(sorted(key_of(who) for who in signers)))


def address_of(policy: SignerPolicy) -> Address:
    return KeyPolicy(policy.threshold, policy.keys).address


TWO_OF_THREE = policy_of(2, ANN, BEA, CAT)
JOINT = address_of(TWO_OF_THREE)


class Escrow(Contract):
    """Takes a hold of whoever signed, as the money contracts do."""

    count: Map[Address, U32]

    @write
    def secure(self, ctx: Context, amount: Motes) -> None:
        """Hold money of the signer."""
        ctx.call(Asset.hold, ctx.sender, amount, "escrow", ctx.now_ms + 1_000)
        self.count[ctx.origin] = self.count.get(ctx.origin, 0) + 1

    @write
    def approve(self, ctx: Context, proposal_id: U64) -> None:
        """Approve of a proposal, as if that were the signer's will."""
        ctx.call(Multisig.approve, proposal_id)

    @write
    def secure_another_s(self, ctx: Context, owner: Address, amount: Motes) -> None:
        """Hold money of somebody named, which only that signer's transaction may."""
        ctx.call(Asset.hold, owner, amount, "escrow", ctx.now_ms + 1_000)


@pytest.fixture
def chain() -> Chain:
    made = Chain({NAME: Multisig, "escrow": Escrow})
    made.free(account("treasury"), Asset.transfer, JOINT, Motes(1_000))
    return made


def plan(chain: Chain, method: Any, *args: Any) -> PlannedCall:
    call = chain.call(method, *args)
    return PlannedCall(call.contract, call.method, encode(call.args))


def pay(chain: Chain, amount: int = 100, to: Account = SHOP) -> PlannedCall:
    return plan(chain, Asset.transfer, to.address, amount)


def ok(chain: Chain, sender: Account, method: Any, *args: Any) -> Any:
    receipt = chain.send(sender, method, *args)
    assert receipt.status is Status.SUCCEEDED, receipt.error
    return receipt.results[0]


def code(chain: Chain, sender: Account, method: Any, *args: Any) -> str:
    """Send a call that must fail and return its code; it must leave no trace."""
    before = dict(chain.state.iterate())
    receipt = chain.send(sender, method, *args)
    assert dict(chain.state.iterate()) == before
    return code_of(receipt)


def code_of(receipt: Receipt) -> str:
    assert receipt.error is not None, "it was to fail"
    return receipt.error.code


def propose(chain: Chain, *calls: PlannedCall, by: Account = ANN, policy: SignerPolicy = TWO_OF_THREE) -> int:
    number: int = ok(chain, by, Multisig.propose, policy, calls, "", None)
    return number


def info(chain: Chain, number: int) -> CollectionInfo:
    found: CollectionInfo = chain.query(Multisig.get, number)
    return found


def status(chain: Chain, number: int) -> CollectionStatus:
    return info(chain, number).proposal.status


class TestCollecting:
    def test_the_approval_that_is_enough_acts_for_the_account(self, chain: Chain) -> None:
        number = propose(chain, pay(chain))
        assert (chain.balance(SHOP).free, status(chain, number)) == (0, "open")
        receipt = chain.send(BEA, Multisig.approve, number)
        assert receipt.results == ("executed",)
        assert [event.name for event in receipt.events] == ["Approved", "Closed", "Transferred"]
        assert (chain.balance(SHOP).free, chain.balance(JOINT).free) == (100, 900)

    def test_it_is_the_account_that_signatures_off_the_chain_have(self, chain: Chain) -> None:
        """The same keys can act either way: a transaction of two signatures spends from the same account."""
        assert chain.query(Multisig.address_of, TWO_OF_THREE) == JOINT
        body = TransactionBody(
            policy=KeyPolicy(2, TWO_OF_THREE.keys),
            salt=b"12345678",
            valid_until_ms=chain.context.timestamp_ms + 60_000,
            chain_tag=chain_tag_of(GENESIS_HASH),
            calls=(chain.call(Asset.transfer, SHOP.address, 1),),
            gas_limit=1_000_000,
        )
        chain.block(body.sign(GENESIS_HASH, (ANN.seed, CAT.seed)))
        assert chain.balance(JOINT).free == 999

    def test_a_proposal_is_shown_whole(self, chain: Chain) -> None:
        at = (chain.context.height, chain.context.timestamp_ms)
        number = ok(chain, BEA, Multisig.propose, TWO_OF_THREE, (pay(chain),), "invoice 7", None)
        shown = info(chain, number)
        assert shown.calls == (pay(chain),)
        found = shown.proposal
        assert (found.id, found.account, found.policy, found.proposer) == (1, JOINT, TWO_OF_THREE, key_of(BEA))
        assert (found.created_height, found.created_ms, found.expires_ms) == (*at, at[1] + DEFAULT_EXPIRY_MS)
        assert (found.reference, found.approvals, found.rejections) == ("invoice 7", (key_of(BEA),), ())
        assert chain.query(Multisig.open_of, JOINT) == (1,)
        ok(chain, CAT, Multisig.approve, number)
        assert info(chain, number).proposal.closed_height == chain.context.height - 1
        assert (info(chain, number).calls, chain.query(Multisig.open_of, JOINT)) == ((pay(chain),), ())
        assert chain.query(Multisig.last_proposal) == 1

    def test_one_of_several_acts_at_once(self, chain: Chain) -> None:
        policy = policy_of(1, ANN, BEA)
        chain.free(account("treasury"), Asset.transfer, address_of(policy), Motes(50))
        number = propose(chain, pay(chain, 50), policy=policy, by=BEA)
        assert (chain.balance(SHOP).free, status(chain, number)) == (50, "executed")
        assert chain.query(Multisig.open_of, address_of(policy)) == ()

    def test_all_of_many_have_to_approve(self, chain: Chain) -> None:
        signers = [account(f"signer {number}") for number in range(MAX_POLICY_KEYS)]
        policy = policy_of(MAX_POLICY_KEYS, *signers)
        chain.free(account("treasury"), Asset.transfer, address_of(policy), Motes(50))
        number = propose(chain, pay(chain, 50), by=signers[0], policy=policy)
        for signer in signers[1:-1]:
            assert ok(chain, signer, Multisig.approve, number) == "open"
        assert chain.balance(SHOP).free == 0
        assert ok(chain, signers[-1], Multisig.approve, number) == "executed"
        assert chain.balance(SHOP).free == 50

    def test_nobody_approves_twice(self, chain: Chain) -> None:
        number = propose(chain, pay(chain))
        assert ok(chain, ANN, Multisig.approve, number) == "open"
        assert info(chain, number).proposal.approvals == (key_of(ANN),)

    def test_calls_are_made_all_or_none_and_can_be_made_later(self, chain: Chain) -> None:
        number = propose(chain, pay(chain, 900), pay(chain, 200))
        receipt = chain.send(BEA, Multisig.approve, number)
        assert receipt.error is not None
        assert (receipt.error.contract, receipt.error.code) == ("asset", "INSUFFICIENT_FUNDS")
        assert (chain.balance(JOINT).free, chain.balance(SHOP).free, status(chain, number)) == (1_000, 0, "open")
        chain.free(account("treasury"), Asset.transfer, JOINT, Motes(100))
        ok(chain, CAT, Multisig.approve, number)
        assert (chain.balance(JOINT).free, chain.balance(SHOP).free) == (0, 1_100)

    def test_calls_are_made_once(self, chain: Chain) -> None:
        number = propose(chain, pay(chain))
        ok(chain, BEA, Multisig.approve, number)
        for method in (Multisig.approve, Multisig.reject, Multisig.revoke, Multisig.cancel):
            assert code(chain, CAT, method, number) == "PROPOSAL_CLOSED"
        assert chain.balance(SHOP).free == 100


class TestChangingOnesMind:
    def test_who_revokes_has_not_approved(self, chain: Chain) -> None:
        number = propose(chain, pay(chain))
        ok(chain, ANN, Multisig.revoke, number)
        assert info(chain, number).proposal.approvals == ()
        assert ok(chain, BEA, Multisig.approve, number) == "open"
        assert ok(chain, ANN, Multisig.approve, number) == "executed"

    def test_who_revokes_has_not_rejected(self, chain: Chain) -> None:
        number = propose(chain, pay(chain))
        ok(chain, BEA, Multisig.reject, number)
        ok(chain, BEA, Multisig.revoke, number)
        assert ok(chain, CAT, Multisig.reject, number) == "open"

    def test_nothing_said_is_nothing_to_take_back(self, chain: Chain) -> None:
        number = propose(chain, pay(chain))
        assert code(chain, BEA, Multisig.revoke, number) == "NOTHING_SAID"

    def test_it_is_rejected_once_the_threshold_is_out_of_reach(self, chain: Chain) -> None:
        number = propose(chain, pay(chain))
        assert ok(chain, BEA, Multisig.reject, number) == "open"
        receipt = chain.send(CAT, Multisig.reject, number)
        assert [event.name for event in receipt.events] == ["Rejected", "Closed"]
        assert (receipt.results, status(chain, number)) == (("rejected",), "rejected")
        assert chain.query(Multisig.open_of, JOINT) == ()

    def test_a_rejection_takes_the_approval_back_and_the_other_way_round(self, chain: Chain) -> None:
        number = propose(chain, pay(chain))
        ok(chain, ANN, Multisig.reject, number)
        found = info(chain, number).proposal
        assert (found.approvals, found.rejections) == ((), (key_of(ANN),))
        ok(chain, ANN, Multisig.approve, number)
        found = info(chain, number).proposal
        assert (found.approvals, found.rejections) == ((key_of(ANN),), ())

    def test_only_who_proposed_cancels(self, chain: Chain) -> None:
        number = propose(chain, pay(chain))
        assert code(chain, BEA, Multisig.cancel, number) == "NOT_PERMITTED"
        ok(chain, ANN, Multisig.cancel, number)
        assert status(chain, number) == "cancelled"
        assert code(chain, BEA, Multisig.approve, number) == "PROPOSAL_CLOSED"

    @pytest.mark.parametrize("end", ["executed", "rejected", "cancelled", "expired"])
    def test_calls_that_were_not_made_are_not_kept(self, chain: Chain, end: str) -> None:
        number = propose(chain, pay(chain))
        if end == "executed":
            ok(chain, BEA, Multisig.approve, number)
        elif end == "rejected":
            for who in (BEA, CAT):
                ok(chain, who, Multisig.reject, number)
        elif end == "cancelled":
            ok(chain, ANN, Multisig.cancel, number)
        else:
            chain.advance(DEFAULT_EXPIRY_MS)
            receipt = chain.send(BEA, Multisig.propose, TWO_OF_THREE, (pay(chain, 5),), "", None)
            assert ("Closed", (number, JOINT, "expired")) in [(event.name, event.fields) for event in receipt.events]
        assert status(chain, number) == end
        assert info(chain, number).calls == ((pay(chain),) if end == "executed" else None)


class TestWho:
    def test_strangers_have_no_say(self, chain: Chain) -> None:
        assert code(chain, STRANGER, Multisig.propose, TWO_OF_THREE, (pay(chain),), "", None) == "NOT_A_SIGNER"
        number = propose(chain, pay(chain))
        for method in (Multisig.approve, Multisig.reject, Multisig.revoke, Multisig.cancel):
            assert code(chain, STRANGER, method, number) == "NOT_A_SIGNER"

    def test_a_policy_of_one_s_own_is_another_account(self, chain: Chain) -> None:
        """Whoever names other keys or a lower threshold acts for another account, which has no money."""
        lower = replace(TWO_OF_THREE, threshold=1)
        for by, policy in ((STRANGER, policy_of(1, STRANGER, ANN, BEA)), (STRANGER, policy_of(1, STRANGER)), (ANN, lower)):
            assert address_of(policy) != JOINT
            assert code(chain, by, Multisig.propose, policy, (pay(chain),), "", None) == "INSUFFICIENT_FUNDS"

    @pytest.mark.parametrize(
        ("threshold", "keys"),
        [
            (0, (b"a" * 32,)),
            (2, (b"a" * 32,)),
            (1, (b"b" * 32, b"a" * 32)),
            (1, (b"a" * 32, b"a" * 32)),
            (2, (b"a" * 32, b"a" * 32, b"b" * 32)),
        ],
    )
    def test_policies_that_no_address_has_are_refused(self, chain: Chain, threshold: int, keys: tuple[bytes, ...]) -> None:
        policy = SignerPolicy(threshold, keys)
        assert code(chain, ANN, Multisig.propose, policy, (pay(chain),), "", None) == "BAD_POLICY"
        with pytest.raises(DatacarError, match="a policy has 1 to 16 different keys"):
            chain.query(Multisig.address_of, policy)

    @pytest.mark.parametrize("count", [0, MAX_POLICY_KEYS + 1])
    def test_keys_are_bounded(self, chain: Chain, count: int) -> None:
        keys = tuple(sorted(key_of(account(f"k{number}")) for number in range(count)))
        good = chain.call(Multisig.propose, TWO_OF_THREE, (pay(chain),), "", None)
        wrong = Call(good.contract, good.method, ((1, keys), *good.args[1:]))
        assert code_of(chain.block(chain.transaction(ANN, wrong)).receipts[0]) == "BAD_ARGUMENTS"

    def test_the_account_itself_is_no_signer(self, chain: Chain) -> None:
        """What the account does, its signers have agreed on; it has no approval of its own to give."""
        number = propose(chain, pay(chain))
        again = propose(chain, plan(chain, Multisig.approve, number))
        assert code(chain, BEA, Multisig.approve, again) == "NOT_A_SIGNER"

    def test_a_contract_is_no_signer(self, chain: Chain) -> None:
        """A contract that a signer calls cannot approve in the signer's place."""
        number = propose(chain, pay(chain))
        assert code(chain, BEA, Escrow.approve, number) == "NOT_A_SIGNER"


class TestActing:
    def test_contracts_see_the_account_as_who_signed(self, chain: Chain) -> None:
        number = propose(chain, plan(chain, Escrow.secure, 300))
        ok(chain, BEA, Multisig.approve, number)
        balance = chain.balance(JOINT)
        assert (balance.free, balance.held) == (700, 300)

    def test_the_signer_who_sends_lends_it_nothing(self, chain: Chain) -> None:
        """The last one to approve has signed a transaction, not that contracts may reach for its own money."""
        chain.account("bea", motes=500)
        number = propose(chain, plan(chain, Escrow.secure_another_s, BEA.address, 300))
        assert code(chain, BEA, Multisig.approve, number) == "NOT_PERMITTED"
        assert chain.balance(BEA).held == 0

    def test_the_signer_is_itself_again_afterwards(self, chain: Chain) -> None:
        """A call after the approval, in the same transaction, is the signer's own."""
        chain.account("bea", motes=500)
        number = propose(chain, pay(chain))
        calls = (chain.call(Multisig.approve, number), chain.call(Escrow.secure, 200))
        receipt = chain.block(chain.transaction(BEA, *calls)).receipts[0]
        assert receipt.status is Status.SUCCEEDED, receipt.error
        assert (chain.balance(BEA).held, chain.balance(JOINT).held) == (200, 0)

    def test_an_account_acts_for_an_account(self, chain: Chain) -> None:
        """One account proposes for another by a proposal of its own: each step has its own sender, and nests no deeper than 8."""
        single = policy_of(1, ANN)
        inner = plan(chain, Multisig.propose, TWO_OF_THREE, (pay(chain),), "inner", None)
        outer = propose(chain, inner, policy=single)
        assert status(chain, outer) == "executed"
        assert info(chain, outer + 1).proposal.approvals == (key_of(ANN),)
        ok(chain, CAT, Multisig.approve, outer + 1)
        assert chain.balance(SHOP).free == 100

    def test_it_nests_no_deeper_than_contracts_do(self, chain: Chain) -> None:
        single = policy_of(1, ANN)
        chain.account("ann", motes=10)
        call = pay(chain, 1)
        for _ in range(MAX_DEPTH - 2):
            call = plan(chain, Multisig.propose, single, (call,), "", None)
        ok(chain, ANN, Multisig.propose, single, (call,), "", None)
        assert chain.balance(SHOP).free == 1
        call = plan(chain, Multisig.propose, single, (call,), "", None)
        receipt = chain.send(ANN, Multisig.propose, single, (call,), "", None, gas_limit=10_000_000)
        assert code_of(receipt) == "CALL_DEPTH"

    def test_a_proposal_cannot_approve_of_itself(self, chain: Chain) -> None:
        """It is closed before its calls are made: they meet a decided proposal, and so fail it."""
        own = plan(chain, Multisig.approve, 1)
        assert code(chain, ANN, Multisig.propose, policy_of(1, ANN), (own,), "", None) == "PROPOSAL_CLOSED"

    @pytest.mark.parametrize(
        ("contract", "method", "args", "expected"),
        [
            ("nobody", "x", (), "UNKNOWN_CONTRACT"),
            ("asset", "x", (), "UNKNOWN_METHOD"),
            ("asset", "transfer", (1,), "BAD_ARGUMENTS"),
            ("asset", "distribute", ((),), "WRONG_KIND"),
        ],
    )
    def test_what_cannot_be_done_fails_the_deciding_approval(
        self, chain: Chain, contract: str, method: str, args: Any, expected: str
    ) -> None:
        number = propose(chain, PlannedCall(contract, method, encode(args)))
        assert code(chain, BEA, Multisig.approve, number) == expected
        assert status(chain, number) == "open"

    def test_a_contract_that_is_switched_off_is_not_reached_this_way(self, chain: Chain) -> None:
        number = propose(chain, plan(chain, Escrow.secure, 1))
        chain.context = replace(chain.context, disabled=frozenset({"escrow"}))
        assert code(chain, BEA, Multisig.approve, number) == "CONTRACT_DISABLED"
        chain.context = replace(chain.context, disabled=frozenset())
        ok(chain, BEA, Multisig.approve, number)

    def test_the_sender_pays_the_gas_not_the_account(self, chain: Chain) -> None:
        chain.account("bea", motes=10_000_000)
        number = propose(chain, pay(chain))
        chain.context = replace(chain.context, gas_price_motes=1)
        receipt = chain.send(BEA, Multisig.approve, number)
        assert receipt.status is Status.SUCCEEDED
        assert chain.balance(BEA).free == 10_000_000 - receipt.gas_used
        assert chain.balance(JOINT).free == 900


class TestBounds:
    def test_proposals_expire(self, chain: Chain) -> None:
        number = propose(chain, pay(chain))
        until_ms = info(chain, number).proposal.expires_ms
        chain.context = replace(chain.context, timestamp_ms=until_ms + 1)
        for method in (Multisig.approve, Multisig.reject, Multisig.revoke, Multisig.cancel):
            chain.context = replace(chain.context, timestamp_ms=until_ms + 1)
            assert code(chain, ANN, method, number) == "PROPOSAL_EXPIRED"
        assert (status(chain, number), chain.query(Multisig.open_of, JOINT)) == ("expired", ())

    def test_they_can_be_approved_up_to_their_last_millisecond(self, chain: Chain) -> None:
        number = propose(chain, pay(chain))
        chain.context = replace(chain.context, timestamp_ms=info(chain, number).proposal.expires_ms)
        assert ok(chain, BEA, Multisig.approve, number) == "executed"

    def test_the_time_is_bounded(self, chain: Chain) -> None:
        for wrong_ms in (MIN_EXPIRY_MS - 1, MAX_EXPIRY_MS + 1):
            until_ms = chain.context.timestamp_ms + wrong_ms
            assert code(chain, ANN, Multisig.propose, TWO_OF_THREE, (pay(chain),), "", until_ms) == "BAD_EXPIRY"
        for right_ms in (MIN_EXPIRY_MS, MAX_EXPIRY_MS):
            until_ms = chain.context.timestamp_ms + right_ms
            number = ok(chain, ANN, Multisig.propose, TWO_OF_THREE, (pay(chain),), "", until_ms)
            assert info(chain, number).proposal.expires_ms == until_ms

    def test_no_signer_fills_the_others_places(self, chain: Chain) -> None:
        for _ in range(MAX_OPEN_BY_KEY):
            propose(chain, pay(chain))
        assert code(chain, ANN, Multisig.propose, TWO_OF_THREE, (pay(chain),), "", None) == "TOO_MANY_PROPOSALS"
        propose(chain, pay(chain), by=BEA)
        other = policy_of(2, ANN, BEA)
        propose(chain, pay(chain), policy=other)
        chain.advance(DEFAULT_EXPIRY_MS)
        propose(chain, pay(chain))
        assert len(chain.query(Multisig.open_of, JOINT)) == 1

    def test_calls_are_bounded_and_canonical(self, chain: Chain) -> None:
        half = PlannedCall("asset", "transfer", encode((bytes(MAX_CALLS_BYTES // 2 - 4),)))
        for calls in (
            (half, half, pay(chain)),
            (PlannedCall("asset", "transfer", b"\xc1"),),
            (PlannedCall("asset", "transfer", encode((0,) * (MAX_ARGS + 1))),),
        ):
            receipt = chain.send(ANN, Multisig.propose, TWO_OF_THREE, calls, "", None, gas_limit=10_000_000)
            assert code_of(receipt) == "BAD_CALLS"

    def test_unknown_ones_are_refused(self, chain: Chain) -> None:
        for method in (Multisig.approve, Multisig.reject, Multisig.revoke, Multisig.cancel):
            assert code(chain, ANN, method, 1) == "UNKNOWN_PROPOSAL"
        with pytest.raises(DatacarError, match="there is no such proposal"):
            info(chain, 1)

    def test_gas_is_in_proportion_to_the_keys_and_the_calls(self, chain: Chain) -> None:
        def used(policy: SignerPolicy, *calls: PlannedCall) -> int:
            return chain.send(ANN, Multisig.propose, policy, calls, "", None, gas_limit=10_000_000).gas_used

        few = used(TWO_OF_THREE, pay(chain))
        others = [account(f"signer {number}") for number in range(MAX_POLICY_KEYS - 1)]
        many = used(policy_of(2, ANN, *others), pay(chain))
        assert many - few > (MAX_POLICY_KEYS - 3) * KEY_GAS
        long = used(TWO_OF_THREE, PlannedCall("asset", "transfer", encode((bytes(8_000),))))
        assert long - few > 8_000 * 300
        assert few < 250_000
        receipt = chain.send(BEA, Multisig.approve, 1)
        assert receipt.status is Status.SUCCEEDED
        assert receipt.gas_used < 200_000


def test_every_code_is_met_here() -> None:
    """A new error needs a test that meets it."""
    text = Path(__file__).read_text(encoding="utf-8")
    assert [error.name for error in MultisigError if f'"{error.name}"' not in text] == []
