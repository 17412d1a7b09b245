"""Bodies, catching up, and the driver between replica and world (rules 1, 10 and 12, K3)."""

from typing import Final

from tests.mutants.mutant import Mutant

SYNC: Final = "node/sync.py"
BODIES: Final = "node/bodies.py"
DRIVER: Final = "node/driver.py"
DOOR: Final = "node/consensus_door.py"
INBOX: Final = "consensus/inbox.py"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "synced-block-without-certificate",
        "12: each block is checked against its committee",
        SYNC,
        "        certificate.check(genesis_hash, self._chain.committee)\n",
        "",
        ("driver", "sim"),
    ),
    Mutant(
        "certificate-of-another-header",
        "12: each block is checked against its own certificate",
        SYNC,
        "        if certificate.header != block.header:\n",
        "        if certificate.header.height != block.header.height:\n",
        ("driver", "sim"),
    ),
    Mutant(
        "synced-bodies-taken-on-trust",
        "12: the bodies are the header's before anything is made of them",
        SYNC,
        "for raw in block.transactions]) != block.header.transactions_root:",
        "for raw in block.transactions]) == bytes(32):",
        ("driver", "sim"),
    ),
    Mutant(
        "liar-asked-for-ever",
        "12: a source that lies is passed over",
        SYNC,
        "                passed_over.add(source)\n",
        "                pass\n",
        ("driver", "sim"),
    ),
    Mutant(
        "liar-believed",
        "12: a source that lies is passed over",
        SYNC,
        "        return good and full\n",
        "        return full\n",
        ("driver", "sim"),
    ),
    Mutant(
        "silent-source-waited-for",
        "12: a source that stalls is passed over",
        SYNC,
        "message = await asyncio.wait_for(future, TIMEOUT_S)",
        "message = await asyncio.wait_for(future, 10_000 * TIMEOUT_S)",
        ("driver", "sim"),
    ),
    Mutant(
        "divergence-not-reported",
        "3: a certificate against one's own result halts",
        SYNC,
        "            self._committer.diverged(",
        "            str(",
        ("driver", "sim"),
    ),
    Mutant(
        "bodies-never-asked-for",
        "K3: missing bodies are fetched",
        BODIES,
        "self._network.send(holders[asked % len(holders)], GetBodies(proposal.block_hash, tuple(missing)))",
        "pass",
        ("driver", "sim"),
    ),
    Mutant(
        "bodies-asked-of-the-proposer-only",
        "K3: the proposer first, then the others",
        BODIES,
        "holders[asked % len(holders)]",
        "holders[0]",
        ("driver", "sim"),
    ),
    Mutant(
        "prepared-bodies-taken-on-trust",
        "K3: the bodies are those of the transactions root",
        BODIES,
        "list_root(self._intake.chain.genesis_hash, tx_hashes) == header.transactions_root",
        "bool(tx_hashes)",
        ("driver", "sim"),
    ),
    Mutant(
        "bodies-of-no-proposal-kept",
        "10: nothing unasked for is kept",
        BODIES,
        "if whole or self._lacks(tx_hash):",
        "if header is None or whole or self._lacks(tx_hash):",
        ("driver", "sim"),
    ),
    Mutant(
        "early-messages-thrown-away",
        "1: what is of the next height waits for its committee",
        DOOR,
        "                self._early.put(member_id, signed.message.height, payload)\n",
        "",
        ("driver", "sim"),
    ),
    Mutant(
        "early-messages-judged-by-the-old-committee",
        "1: messages of h are judged by committee(h)",
        DOOR,
        "if (ahead := signed.message.height - self._replica.height) == 0:",
        "if (ahead := signed.message.height - self._replica.height) in (0, 1):",
        ("driver", "sim"),
    ),
    Mutant(
        "hint-in-another-s-name",
        "12: a hint counts from its signer only",
        DOOR,
        "            elif signed.signer != member_id:\n                return True\n",
        "",
        ("driver",),
    ),
    Mutant(
        "messages-unauthenticated",
        "a message is its signer's",
        DOOR,
        "        authenticate(signed, committee, self._chain.genesis_hash)\n",
        "        committee.index_of[signed.signer]\n",
        ("driver", "sim"),
    ),
    Mutant(
        "evidence-not-stored",
        "10: evidence is kept",
        DRIVER,
        "        self.chain.store.put_evidence(evidence.signer, height, view, step, evidence.encode())\n",
        "",
        ("driver", "sim"),
    ),
    Mutant(
        "liar-stays-connected",
        "10: who sends what is not authentic is dropped",
        DOOR,
        '            self._network.disconnect(member_id, f"sent a bad consensus message: {error.message}")\n',
        "",
        ("driver", "sim"),
    ),
    Mutant(
        "inbox-without-bound",
        "10: what came early is bounded for each member",
        INBOX,
        "if len(held) >= MAX_MESSAGES or size + len(payload) > MAX_BYTES:",
        "if len(held) >= 1_000 * MAX_MESSAGES:",
        ("gaps", "sim"),
    ),
    Mutant(
        "inbox-shared-by-all",
        "10: one member's flood does not push out another's messages",
        INBOX,
        "held, size = self._held.setdefault(sender, []), self._bytes.get(sender, 0)",
        "held, size = self._held.setdefault(sender, []), sum(self._bytes.values())",
        ("gaps", "sim"),
    ),
    Mutant(
        "inbox-gives-any-height",
        "1: messages die with their height",
        INBOX,
        "for at, payload in held if at == height]",
        "for at, payload in held if at]",
        ("gaps",),
    ),
)
