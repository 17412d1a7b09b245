"""Values that random ones never satisfy: what is agreed on at length, by the name of its type or parameter."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from ledger.codec import Value, encode
from ledger.crypto import public_key
from ledger.types import MOTES_PER_DATR
from tests.determinism.calls import CallMaker, Sample
from vm.abi_types import type_spec
from vm.calendar import DAY_MS
from vm.contracts.charging_types import TariffTerms
from vm.loan.terms import CENT
from vm.tariff import parse_tariff

ALL_ON: Final = 600
"""So many calls find all contracts switched on."""
EXAMPLES: Final = Path(__file__).resolve().parents[2] / "docs" / "examples"


@cache
def _tariffs() -> tuple[Value, ...]:
    texts = [path.read_text(encoding="utf-8") for path in sorted(EXAMPLES.glob("tariff*.json"))]
    return tuple(type_spec(TariffTerms).encode(TariffTerms.of(parse_tariff(text), 60)) for text in texts)


def _tariff(maker: CallMaker) -> Value:
    return maker.rng.choice(_tariffs())


def _loan_terms(maker: CallMaker) -> Value:
    """Terms of a loan as of today."""
    rng, today = maker.rng, maker.now_ms // DAY_MS
    return (
        rng.randrange(1, 10_000) * MOTES_PER_DATR,
        rng.choice((0, 7_000, 12_345)),
        rng.choice((1, 3, 12, 60)),
        today,
        rng.choice(("30/360", "ACT/365", "ACT/360")),
        rng.choice(("equal_instalments", "equal_principal")),
        rng.choice((0, 0, 1)) if (few := rng.random() < 0.5) else 0,
        0 if few else rng.choice((0, 0, 1)),
        CENT,
        rng.choice((0, 10 * CENT)),
        rng.choice((0, 0, 1, 31)),
        rng.choice(("same", "next", "previous")),
        rng.choice((0, 0, 60, -300)),
        rng.choice(("next_instalment", "last_instalment", "reamortise")),
        rng.choice((0, 5 * MOTES_PER_DATR)),
        rng.choice((0, 5)),
        rng.choice(((), (1, 3, 7))),
        rng.choice((0, 30, 90)),
        rng.choice((0, MOTES_PER_DATR)),
    )


def _recurrence(maker: CallMaker) -> Value:
    rng = maker.rng
    minute, offset = rng.randrange(1_440), rng.choice((0, 60, -480))
    every, day, month = rng.choice((("day", 0, 0), ("week", 3, 0), ("month", 31, 0), ("year", 29, 2)))
    return (every, day, month, minute, offset)


def _amount(maker: CallMaker) -> Value:
    rng = maker.rng
    motes, cap = rng.randrange(1, 10**11), 10**12
    return rng.choice((("fixed", motes, 0, motes, ""), ("percentage", 0, 250, cap, ""), ("per_unit", motes, 0, cap, "kWh")))


def _until(maker: CallMaker) -> Value:
    rng = maker.rng
    later_ms = maker.now_ms + rng.randrange(1, 400) * DAY_MS
    return rng.choice(((later_ms, None, None), (None, rng.randrange(1, 30), None), (None, None, rng.randrange(1, 10**12))))


def _collection(maker: CallMaker) -> Value:
    rng = maker.rng
    return (rng.choice(((), (1, 2), (3, 10, 20))), rng.random() < 0.5, rng.random() < 0.5)


def _cancellation(maker: CallMaker) -> Value:
    return maker.rng.choice((("any_time", 0), ("notice", 14), ("agreement", 0)))


def _expiry(maker: CallMaker) -> Value:
    return maker.now_ms + maker.rng.randrange(1, 7) * DAY_MS


def _vehicle(maker: CallMaker) -> Value:
    return maker.rng.choice((None, None, "WDB9634031L123456"))


def _policy(maker: CallMaker) -> Value:
    """One of a few policies of the accounts' keys."""
    keys = tuple(sorted(public_key(account.seed) for account in maker.rng.choice((maker.accounts[:3], maker.accounts[1:]))))
    return (maker.rng.choice((1, 2)), keys)


def _planned(maker: CallMaker) -> Value:
    """A call, planned; once all contracts have had their turn sometimes one of governance's own, which may switch one off."""
    rng = maker.rng
    if maker.made < ALL_ON or rng.random() < 0.5:
        _, call = maker.make()
        return (call.contract, call.method, encode(call.args))
    changes: tuple[tuple[str, Value], ...] = (
        ("set_parameters", ((("heartbeat_ms", rng.randrange(1_000, 90_000)),),)),
        ("disable_contract", (rng.choice(("charging", "order")),)),
        *(("enable_contract", (name,)) for name in ("charging", "charging", "order", "order")),
        ("set_threshold", ("freeze", rng.randrange(6_000, 10_000))),
    )
    method, args = rng.choice(changes)
    return ("governance", method, encode(args))


SAMPLES: Final[Mapping[str, Sample]] = {
    "TariffTerms": _tariff,
    "Terms": _loan_terms,
    "Recurrence": _recurrence,
    "Amount": _amount,
    "Until": _until,
    "Collection": _collection,
    "Cancellation": _cancellation,
    "expires_ms": _expiry,
    "lien": _vehicle,
    "SignerPolicy": _policy,
    "PlannedCall": _planned,
}
