"""The next step after a failure, by its code: which command shows what is needed, or does it.

What says all by itself has no line here. A code that several contracts have is looked up with its contract first, then alone.
"""

from collections.abc import Mapping
from typing import Final

ANY: Final = ""

HINTS: Final[Mapping[tuple[str, str], str]] = {
    # the runtime's
    (ANY, "UNKNOWN_CONTRACT"): "`datacar --help` lists the contracts' commands",
    (ANY, "CONTRACT_DISABLED"): "`datacar gov rules` lists what is switched off; the members switch it on by a vote",
    (ANY, "OUT_OF_GAS"): "leave out --gas-limit, or give more",
    (ANY, "BAD_INPUT"): "correct the value that it names",
    (ANY, "TOO_MANY_EVENTS"): "do it in several transactions",
    # of several contracts
    (ANY, "BAD_RECIPIENT"): "a contract's own account cannot receive this; give the account of a person",
    (ANY, "BAD_CALLS"): "`datacar GROUP METHOD --help` says what a method takes",
    (ANY, "BAD_EXPIRY"): "give a later or an earlier time, such as --expires-ms +7d",
    (ANY, "NOT_PERMITTED"): "`datacar GROUP METHOD --help` says who may; act as that account with --wallet or --key",
    (ANY, "NOT_YET"): "do it again after that time",
    (ANY, "PROPOSAL_CLOSED"): "`datacar gov list`, or `datacar multisig get --proposal-id N`, shows how it ended",
    (ANY, "PROPOSAL_EXPIRED"): "propose it again",
    (ANY, "TOO_MANY_PROPOSALS"): "wait until some are decided or expire",
    (ANY, "UNKNOWN_PROPOSAL"): "`datacar gov list`, or `datacar multisig open-of --account ACCOUNT`, shows those that there are",
    # asset
    ("asset", "BAD_AMOUNT"): "give an amount above 0 that the account, hold or pool has",
    ("asset", "BAD_DEADLINE"): "give a time ahead, such as --deadline-ms +7d",
    ("asset", "BAD_SUPPLY"): "`datacar asset supply-of --symbol SYMBOL` shows the supply",
    ("asset", "FROZEN"): "`datacar asset get-freeze --symbol SYMBOL --address ACCOUNT` says why, and who did it",
    ("asset", "INSUFFICIENT_ALLOWANCE"): "the owner allows more by `datacar asset approve`",
    ("asset", "NO_RIGHT"): "`datacar asset get-asset --symbol SYMBOL` shows the rights",
    ("asset", "NOT_PERMITTED"): (
        "a hold is its holder's to capture and its owner's to reclaim, a mandate its owner's to revoke, an asset's rights are its"
        " issuer's, a pool its authority's; `datacar asset get-hold`, `get-mandate`, `get-asset`, `get-locks-of` name them"
    ),
    ("asset", "NOT_YET"): "an owner has a hold back after its deadline; until then its holder may release it",
    ("asset", "UNKNOWN_ASSET"): "`datacar asset list-assets --first 0` shows those that are there",
    ("asset", "UNKNOWN_HOLD"): "it was captured or released, or the id is another: `datacar tx get ID` shows what became of it",
    ("asset", "UNKNOWN_POOL"): "`datacar asset get-locks-of --symbol SYMBOL` shows those that there are",
    # charging
    ("charging", "ALREADY_STARTED"): "`datacar charging session --session-id ID` shows what was reported; repeat exactly that",
    ("charging", "ARBITER_CHANGED"): "`datacar charging operator --address OPERATOR` names the arbiter; look whether you agree",
    ("charging", "BAD_MEASURED"): "give what the session measured: it ends after it began and has no more parking than time",
    ("charging", "DRIVER_IN_DEBT"): (
        "`datacar charging debt --driver ACCOUNT` names the sessions; `datacar charging pay-debt --session-id ID` pays one"
    ),
    ("charging", "EVENT_IN_FUTURE"): "wait, or correct the station's clock: it may be ten minutes ahead of the chain, not more",
    ("charging", "NO_DEBT"): "`datacar charging debt --driver ACCOUNT` names the sessions that something is owed for",
    ("charging", "NOT_DISPUTED"): "`datacar charging dispute-of --session-id ID` shows how it was decided",
    ("charging", "NOT_PERMITTED"): (
        "a session's own station starts and meters it, its driver and station cancel it, its driver and operator dispute it, its"
        " arbiter resolves that: `datacar charging session --session-id ID` names them"
    ),
    ("charging", "NOT_STARTED"): "send `datacar charging start` first, then this again",
    ("charging", "READING_MISSING"): "`datacar charging session --session-id ID` shows the last reading that counted",
    ("charging", "REFUND_OWED"): "that account pays what it owes by `datacar charging collect-refund --session-id ID`",
    ("charging", "SESSION_ENDED"): "`datacar charging session --session-id ID` shows how, `charging cdr` what was billed",
    ("charging", "STATION_DISABLED"): "its operator puts it into service by `datacar charging switch-station`",
    ("charging", "TARIFF_CHANGED"): "`datacar charging station --address STATION` names the tariff, `charging tariff` shows it",
    ("charging", "TOO_MUCH_WORK"): "whoever wants it settled sends `datacar charging settle-expired --session-id ID`",
    ("charging", "UNKNOWN_OPERATOR"): "an operator is made by `datacar charging register-operator`",
    ("charging", "UNKNOWN_SESSION"): "`datacar charging authorize` printed the session's id as its result",
    ("charging", "UNKNOWN_STATION"): "its operator makes it one by `datacar charging add-station`",
    ("charging", "UNKNOWN_TARIFF"): "`datacar charging publish-tariff --tariff FILE.json` publishes it and prints its id",
    # governance
    ("governance", "BAD_HEIGHT"): "`datacar block` shows the last height: give one far enough ahead for the votes as well",
    ("governance", "BAD_PARAMETER"): "`datacar gov rules` shows what is in force; the bounds are in docs/governance.md",
    ("governance", "NOT_A_MEMBER"): "sign with a member's governance key: --key FILE or --node DIR; `datacar members` lists them",
    ("governance", "NOT_A_VALIDATOR"): "`datacar members` lists those that vote; an observer is promoted by a vote",
    ("governance", "NOT_SYNCED"): "the observer's operator sends `datacar gov attest` against its own node, then vote again",
    ("governance", "ONE_CHANGE_A_BLOCK"): "send the vote again",
    ("governance", "ONLY_BY_VOTE"): "`datacar gov propose-calls` proposes it to the members",
    ("governance", "ROTATED_TOO_SOON"): "rotate again after that time",
    ("governance", "TOO_FEW_MEMBERS"): "promote another member first",
    ("governance", "UNKNOWN_MEMBER"): "`datacar members` lists them",
    ("governance", "UPGRADE_PENDING"): "`datacar gov rules` shows it; the members call it off by a vote on cancel_upgrade",
    # loan
    ("loan", "BAD_EXPIRY"): "give a time ahead, at most 366 days, such as --expires-ms +7d",
    ("loan", "EXPIRES_TOO_EARLY"): (
        "give an --expires-ms after opens_ms, or leave the day to the borrower with --terms.disbursed-on 0"
    ),
    ("loan", "FEE_NOT_AGREED"): "`datacar loan get --loan-id ID` shows the terms' fee_limit",
    ("loan", "LIEN_EXISTS"): "`datacar loan lien-of --vehicle ID` names the loan",
    ("loan", "NOT_DISBURSEMENT_DAY"): "accept on that day, or have the loan offered with --terms.disbursed-on 0: any day",
    ("loan", "NOT_IN_DEFAULT"): "`datacar loan schedule --loan-id ID` shows what is overdue",
    ("loan", "NOT_OFFERED"): "`datacar loan get --loan-id ID` shows where it stands; the lender may offer another",
    ("loan", "NOT_PERMITTED"): (
        "its borrower accepts a loan; its lender withdraws, charges, reverses, calls default and writes off: `datacar loan get"
        " --loan-id ID` names both"
    ),
    ("loan", "NOT_RUNNING"): "`datacar loan get --loan-id ID` shows where it stands",
    ("loan", "PAYOFF_CHANGED"): "`datacar loan payoff-quote --loan-id ID --day 0` says what it takes today",
    ("loan", "UNKNOWN_LOAN"): "`datacar loan offer` printed the loan's id as its result",
    ("loan", "UNKNOWN_PAYMENT"): "`datacar loan bookings --loan-id ID --first 1 --count 256` lists them",
    # multisig
    ("multisig", "NOT_A_SIGNER"): "`datacar wallet multisig show ACCOUNT.json` lists the keys of the account",
    # order
    ("order", "NOT_PERMITTED"): (
        "payer and payee cancel an order, its payee reports to it: `datacar order get --order-id ID` names them"
    ),
    ("order", "NOT_ACTIVE"): "`datacar order get --order-id ID` shows where it stands",
    ("order", "OVER_CAP"): "`datacar order get --order-id ID` shows the cap; the payer would have to open another order",
    ("order", "UNKNOWN_ORDER"): "`datacar order open` printed the order's id as its result",
    ("order", "WRONG_PERIOD"): "`datacar order get --order-id ID` names the next period",
}

RPC_WORDS: Final[Mapping[str, str]] = {
    "ask again with tx_wait": "`datacar tx wait ID` asks again",
    "gov_list names them": "`datacar gov list` names them",
    "contract_list names them": "`datacar --help` lists their commands",
    "the tip is in chain_info": "`datacar block` shows the last one",
    "tx_get with prove": "`datacar proof make`",
    "(contract_abi)": "(`datacar rpc contract_abi name=CONTRACT`)",
}
"""What nodes say in hints to programs, and the command that does it for people."""


def hint_of(contract: str, code: str) -> str:
    """Return the next step after a contract's failure; where no line here has one, where to read on."""
    found = HINTS.get((contract, code)) or HINTS.get((ANY, code))
    return found or f"`datacar {'gov' if contract == 'governance' else contract or 'GROUP'} METHOD --help` says what it needs"


def spoken(hint: str) -> str:
    """Return a node's hint with commands where it names RPC methods."""
    for words, command in RPC_WORDS.items():
        hint = hint.replace(words, command)
    return hint
