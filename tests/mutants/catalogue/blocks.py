"""What makes a block valid (sections Transactions and Blocks, rules 3 and 13)."""

from typing import Final

from tests.mutants.mutant import Mutant

CHAIN: Final = "node/chain.py"
DIFFERS: Final = "            if expected != got:\n"
NODES: Final = ("blocks", "sim")


def _unchecked(field: str) -> Mutant:
    return Mutant(
        f"{field.replace('_', '-')}-not-compared",
        "3: all roots are compared before voting",
        CHAIN,
        DIFFERS,
        f'            if expected != got and name != "{field}":\n',
        NODES,
    )


MUTANTS: Final[tuple[Mutant, ...]] = (
    *map(_unchecked, ("state_root", "receipts_root", "transactions_root", "committee_hash", "next_committee_hash", "gas_used")),
    Mutant(
        "block-on-another-parent",
        "K1: a block follows from the tip",
        CHAIN,
        "if header.height != self.tip.height + 1 or header.parent_hash != self.tip_hash:",
        "if header.height != self.tip.height + 1:",
        NODES,
    ),
    Mutant(
        "transaction-twice-in-a-block",
        "T3: an id stands once in a block",
        CHAIN,
        "if len(ids) != len(transactions):",
        "if len(ids) > len(transactions):",
        NODES,
    ),
    Mutant(
        "transaction-committed-twice",
        "T3: an id stands in one block",
        CHAIN,
        '            if self.committed_at(transaction.id) is not None:\n                raise InvalidBlockError("an entry is',
        '            if self.committed_at(transaction.id) == (0, 0):\n                raise InvalidBlockError("an entry is',
        NODES,
    ),
    Mutant(
        "committed-transaction-proposed-again",
        "T3: an id stands in one block",
        CHAIN,
        "            if self.committed_at(transaction.id) is None:\n                yield transaction",
        "            yield transaction",
        NODES,
    ),
    Mutant(
        "expired-transaction-proposed",
        "T2: valid until its time",
        CHAIN,
        "islice((each for each in candidates if self.is_timely(each, block_time_ms)), MAX_SCANNED)",
        "islice(candidates, MAX_SCANNED)",
        NODES,
    ),
    Mutant(
        "untimely-transaction-accepted",
        "T2: an expired entry makes the proposal invalid",
        CHAIN,
        "            if not self.is_timely(transaction, header.timestamp_ms):\n",
        "            if not self.is_timely(transaction, transaction.body.valid_until_ms):\n",
        NODES,
    ),
    Mutant(
        "expired-at-its-last-millisecond",
        "T2: B.timestamp_ms <= valid_until_ms",
        CHAIN,
        "return block_time_ms <= transaction.body.valid_until_ms <=",
        "return block_time_ms < transaction.body.valid_until_ms <=",
        NODES,
    ),
    Mutant(
        "valid-for-ever",
        "T2: valid_until_ms <= B.timestamp_ms + window",
        CHAIN,
        "transaction.body.valid_until_ms <= block_time_ms + self.parameters.tx_window_ms",
        "transaction.body.valid_until_ms",
        NODES,
    ),
    Mutant(
        "block-over-its-bytes",
        "K4: blocks are bounded",
        CHAIN,
        "or size_bytes > self.parameters.block_max_bytes:",
        "or size_bytes < 0:",
        NODES,
    ),
    Mutant(
        "block-over-its-count",
        "K4: blocks are bounded",
        CHAIN,
        "if len(transactions) > self.parameters.block_max_transactions or size",
        "if size",
        NODES,
    ),
    Mutant(
        "unpayable-entry-accepted",
        "K6: an entry that cannot reserve its gas makes the proposal invalid",
        "vm/executor.py",
        "            self.reserve(transaction)\n        except InsufficientFundsError as error:\n",
        "            body.gas_limit.bit_length()\n        except InsufficientFundsError as error:\n",
        ("executor", "sim"),
    ),
    Mutant(
        "committee-of-the-wrong-height",
        "13: a change in block h makes the committee of h + 1",
        CHAIN,
        "committee_hash=self.committee.hash(self.genesis_hash),\n            next",
        "committee_hash=membership.committee.hash(self.genesis_hash),\n            next",
        NODES,
    ),
    Mutant(
        "committee-never-follows",
        "13: the committee follows the chain",
        CHAIN,
        "        self.membership = executed.membership\n",
        "",
        NODES,
    ),
    Mutant(
        "time-stands-still",
        "K5: timestamp = max(clock, parent + 1)",
        CHAIN,
        "        timestamp_ms = max(now_ms, self.tip.timestamp_ms + 1)\n        built",
        "        timestamp_ms = now_ms\n        built",
        NODES,
    ),
    Mutant(
        "state-not-moved-on",
        "S1: each block's state is its parent's with its changes",
        CHAIN,
        "        self._root = executed.tree.root\n",
        "",
        NODES,
    ),
)
