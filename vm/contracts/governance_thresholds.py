"""How many approvals a proposal needs: for each topic a share of the validators, and never fewer than are safe. Pure.

The consensus quorum is the least for what decides who runs the chain and how: f of the n validators may be anybody's, and two
quorums share an honest one. Freezing an account and spending fees harm no block: there more than half may be made enough.
"""

from typing import Final

from ledger.codec import decode
from ledger.committee import fault_tolerance, quorum_size
from vm.contracts.asset import NAME as ASSET
from vm.contracts.governance_types import NAME, Topic
from vm.contracts.planned_calls import PlannedCall

WHOLE: Final = 10_000
QUORUM_SHARE: Final = 6_666
"""Two thirds, rounded down: of any number of validators this is the quorum, which is the least anyhow. The share at first."""
MAJORITY_SHARE: Final = 5_000
MAJORITY_TOPICS: Final = frozenset({Topic.FREEZE, Topic.SPENDING})
HEALING_TOPICS: Final = frozenset({Topic.MEMBERS, Topic.THRESHOLDS})
"""All but f validators are always enough for these, or f that are gone could keep the others from ever replacing them."""

_WORDS: Final = frozenset(topic.value for topic in Topic)
_TOPICS: Final = {
    (NAME, "set_parameters"): Topic.PARAMETERS,
    (NAME, "disable_contract"): Topic.CONTRACTS,
    (NAME, "enable_contract"): Topic.CONTRACTS,
    (NAME, "schedule_upgrade"): Topic.UPGRADE,
    (NAME, "cancel_upgrade"): Topic.UPGRADE,
    (NAME, "set_threshold"): Topic.THRESHOLDS,
    (NAME, "add_auditor"): Topic.MEMBERS,
    (NAME, "remove_auditor"): Topic.MEMBERS,
    (ASSET, "freeze"): Topic.FREEZE,
    (ASSET, "unfreeze"): Topic.FREEZE,
    (ASSET, "spend_fees"): Topic.SPENDING,
}


def least_share(topic: Topic) -> int:
    """Return the smallest share that may be set, in 1/10,000."""
    return MAJORITY_SHARE if topic in MAJORITY_TOPICS else QUORUM_SHARE


def approvals_needed(topic: Topic, share: int, validators: int) -> int:
    """Return how many of so many validators must approve: `share` of them, rounded up, within what the topic allows."""
    least = validators // 2 + 1 if topic in MAJORITY_TOPICS else quorum_size(validators)
    need = max(least, -(-share * validators // WHOLE))
    return min(need, validators - fault_tolerance(validators)) if topic in HEALING_TOPICS else need


def topics_of(calls: tuple[PlannedCall, ...]) -> tuple[Topic, ...]:
    """Return what the calls are about, each topic once, ascending.

    Whoever changes a threshold needs what it asks for now, too: else fewer could lower it first and go on from there.
    """
    topics = {_TOPICS.get((call.contract, call.method), Topic.OTHER) for call in calls}
    for call in calls:
        if (call.contract, call.method) == (NAME, "set_threshold") and (topic := _threshold_of(call)) is not None:
            topics.add(topic)
    return tuple(sorted(topics))


def _threshold_of(call: PlannedCall) -> Topic | None:
    """Return which threshold a call of `set_threshold` is for; None where it names none and so can only fail."""
    args = decode(call.args)
    topic = args[0] if isinstance(args, tuple) and args else None
    return Topic(topic) if isinstance(topic, str) and topic in _WORDS else None
