"""Whether a first proposal belongs where it stands (rules 3 and 4, and the clock rule of section Blocks)."""

from typing import Final

from consensus.messages import NewView, Proposing
from consensus.pacing import Timing
from consensus.round import Round
from consensus.views import carries_on
from ledger.certificate import PreparedCert
from ledger.list_root import list_root

MAX_CLOCK_MS: Final = 2**53


def carried_certificate(message: Proposing) -> PreparedCert | None:
    """Return the certificate that makes a proposal a re-proposal, or None for a first one."""
    return carries_on(message) if isinstance(message, NewView) else None


def belongs(message: Proposing, round_: Round, genesis_hash: bytes, max_transactions: int) -> bool:
    """Return whether a FIRST proposal's header follows from the tip, its view and its proposer."""
    header = message.header
    return (
        header.height == round_.height
        and header.view == message.view
        and header.proposer == round_.committee.primary(message.view)
        and header.parent_hash == round_.tip.block_hash
        and header.committee_hash == round_.committee.hash(genesis_hash)
        and len(message.tx_hashes) <= max_transactions
    )


def names_its_transactions(message: Proposing, genesis_hash: bytes) -> bool:
    """Return whether the hashes are those of the header: they are outside the block hash, so a primary could give others."""
    return list_root(genesis_hash, message.tx_hashes) == message.header.transactions_root


def is_timely(message: Proposing, round_: Round, timing: Timing, now_ms: int) -> bool:
    """Return whether the timestamp is parent + 1, or later and not older than drift + view timeout (early ones are held)."""
    stamp, parent = message.header.timestamp_ms, round_.tip.header.timestamp_ms
    oldest = now_ms - timing.clock_drift_ms - timing.view_timeout_ms(round_.failed_views)
    return stamp == parent + 1 or (parent < stamp <= MAX_CLOCK_MS and stamp >= oldest)


def opens_at_ms(message: Proposing, timing: Timing) -> int:
    """Return when a proposal stops being ahead of our clock by more than the drift."""
    return message.header.timestamp_ms - timing.clock_drift_ms
