"""What one member could cost the rest: vetoes by certificates nobody else holds, floods, answers that do not come."""

from typing import Final

from tests.mutants.mutant import Mutant

AGREEMENT: Final = "consensus/agreement.py"
VIEWS: Final = "consensus/views.py"
SIGNER: Final = "consensus/signer.py"
REPLICA: Final = "consensus/replica.py"
INTAKE: Final = "node/intake.py"
ANSWERS: Final = "node/answers.py"
SIEVE: Final = "node/sieve.py"
DRIVER: Final = "node/driver.py"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "certificate-of-a-block-nobody-has-binds",
        "4: a certificate that only a liar holds stops nobody",
        VIEWS,
        "best = here if len(here) >= quorum else found",
        "best = found",
        ("lone",),
    ),
    Mutant(
        "new-view-of-other-changes-than-chosen",
        "4: a NewView carries what its block was chosen from",
        AGREEMENT,
        "NewView(round_.height, round_.view, round_.chosen, proposal.header",
        "NewView(round_.height, round_.view, round_.views.choose(round_.view, lambda _: True), proposal.header",
        ("lone",),
    ),
    Mutant(
        "outage-is-the-new-primary-s",
        "9a: only a height's first view is measured",
        AGREEMENT,
        "        if round_.view == round_.start_view:\n            self.watch.proposed(",
        "        if round_.view >= round_.start_view:\n            self.watch.proposed(",
        ("lone",),
    ),
    Mutant(
        "time-before-the-reminder-counts",
        "9a: a primary's time counts from when it was told",
        REPLICA,
        "        self._agreement.watch.told(now_ms)\n",
        "",
        ("lone",),
    ),
    Mutant(
        "each-reminder-gives-more-time",
        "9a: a primary's time counts from when it was told first",
        "consensus/watch.py",
        "        if not self._was_told:\n",
        "        if now_ms:\n",
        ("lone",),
    ),
    Mutant(
        "doubt-forgotten-by-a-restart",
        "7: a quarantine outlasts a restart",
        SIGNER,
        "            self.state = replace(self.state, doubted=True)\n",
        "            self.state = replace(self.state, doubted=False)\n",
        ("lone",),
    ),
    Mutant(
        "useless-messages-verified",
        "10: what can change nothing is not verified",
        AGREEMENT,
        "            return held.message != message and place not in round_.convicted\n",
        "            return held.message != message\n",
        ("lone",),
    ),
    Mutant(
        "anybody-s-proposals-verified",
        "10: what can change nothing is not verified",
        AGREEMENT,
        "return opens and signed.signer == round_.committee.primary(message.view)",
        "return opens",
        ("lone",),
    ),
    Mutant(
        "view-changes-verified-without-end",
        "10: a flood of view changes is bounded",
        SIEVE,
        "        return bucket.take(1, now_ms)\n",
        "        return bucket.take(0, now_ms)\n",
        ("floods",),
    ),
    Mutant(
        "empty-block-not-given",
        "4: a prepared block is given to who must propose it again",
        ANSWERS,
        "return None if block is None else Bodies(request.block_hash, block.transactions)",
        "return None if block is None or not block.transactions else Bodies(request.block_hash, block.transactions)",
        ("floods",),
    ),
    Mutant(
        "bodies-over-the-frame",
        "an answer fits its frame",
        ANSWERS,
        "            if room < 0:\n                break\n",
        "",
        ("floods",),
    ),
    Mutant(
        "one-member-closes-the-door",
        "up to f members keep no wallet from the others",
        INTAKE,
        "if len(counts) > faults and counts[faults] >= MAX_BACKLOG:",
        "if counts and counts[0] >= MAX_BACKLOG:",
        ("floods",),
    ),
    Mutant(
        "door-never-closes",
        "wallets wait while members' transactions are behind",
        INTAKE,
        "if len(counts) > faults and counts[faults] >= MAX_BACKLOG:",
        "if len(counts) > faults and counts[faults] >= 100 * MAX_BACKLOG:",
        ("floods",),
    ),
    Mutant(
        "garbage-costs-nothing",
        "who gossips what it cannot have verified is dropped",
        INTAKE,
        "                    liars.add(source)\n",
        "                    pass\n",
        ("floods",),
    ),
    Mutant(
        "wanted-bodies-drained",
        "gossip verification leaves a proposal's bodies alone",
        INTAKE,
        "            self._wanted[tx_hash] = raw\n",
        "            pass\n",
        ("floods", "driver"),
    ),
    Mutant(
        "unpayable-gossip-pooled",
        "what cannot pay its gas does not fill the pool",
        INTAKE,
        "if chain.parameters.gas_price_motes and not chain.executor.can_reserve(",
        "if chain.parameters.gas_price_motes < 0 and not chain.executor.can_reserve(",
        ("floods",),
    ),
)
