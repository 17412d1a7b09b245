"""A chain with a charging station, its operator, its arbiter and a driver: the scene of the charging contract's tests."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from ledger.block import Receipt, Status
from ledger.types import MOTES_PER_DATR, Motes
from tests.vm_harness import START_MS, Account, Chain, account
from vm.contracts.charging import NAME, Charging
from vm.contracts.charging_parties import Share
from vm.contracts.charging_records import Cdr, Dispute, Measured, Outcome
from vm.contracts.charging_types import ComponentTerms, LimitTerms, MeterPoint, Session, TariffTerms
from vm.tariff import Dimension, parse_tariff

HELD: Final = 20 * MOTES_PER_DATR
NOON: Final = START_MS // 1_000 - 86_400
HOUR: Final = 3_600
UNKNOWN: Final = b"\xff" * 32
OPERATOR: Final = account("operator")
ARBITER: Final = account("arbiter")
TERMS: Final = TariffTerms.of(
    parse_tariff(
        """{"id": "city", "elements": [{"price_components": [
            {"type": "FLAT", "price": 1},
            {"type": "ENERGY", "price": 0.5, "vat": 20, "step_size": 1},
            {"type": "TIME", "price": 2, "step_size": 60},
            {"type": "PARKING_TIME", "price": 6, "step_size": 60}]}],
        "preauthorize_amount": 20}"""
    )
)
HEAVY: Final = replace(
    TERMS,
    label="h" * 36,
    elements=(replace(TERMS.elements[0], components=tuple(ComponentTerms(each, 10**9, 10**6, 1) for each in Dimension)),) * 16,
    min_price=LimitTerms(1, 10**6),
    max_price=LimitTerms(10**12, 10**12),
    preauthorize=Motes(1),
)
"""The most components that a tariff can have."""
CHEAP: Final = replace(TERMS, label="cheap", min_price=LimitTerms(0, None))

MANY_RULES: Final = TariffTerms.of(
    parse_tariff(
        json.dumps(
            {
                "elements": [
                    {
                        "price_components": [
                            {"type": kind, "price": 1 + n, "vat": 19, "step_size": 7}
                            for kind in ("FLAT", "ENERGY", "TIME", "PARKING_TIME")
                        ],
                        "restrictions": {
                            "start_time": f"{n:02}:07",
                            "end_time": f"{n + 7:02}:31",
                            "day_of_week": ["MONDAY", "THURSDAY", "SUNDAY", "TUESDAY"][: 3 + n % 2],
                            "min_kwh": n,
                            "max_kwh": n + 30,
                            "min_power": str(n / 10),
                            "max_power": 40 + n,
                            "min_duration": 600 * n,
                            "max_duration": 86_400 * (3 + n),
                            "start_date": f"2023-11-{n + 1:02}",
                            "end_date": f"2031-01-{n + 1:02}",
                        },
                    }
                    for n in range(16)
                ],
                "preauthorize_amount": 1,
            }
        )
    )
)
"""As much as a tariff can have to look at."""


@dataclass(slots=True)
class Site:
    """A chain with one station, its operator and one driver."""

    chain: Chain
    station: Account
    driver: Account
    tariff_id: bytes
    provider: Account | None = None

    def ok(self, sender: Account, method: Any, *args: Any) -> Receipt:
        """Send, and insist that it succeeds."""
        receipt = self.chain.send(sender, method, *args)
        assert receipt.status is Status.SUCCEEDED, receipt.error
        return receipt

    def code(self, sender: Account, method: Any, *args: Any) -> str:
        """Send, insist that it fails, and return the code."""
        receipt = self.chain.send(sender, method, *args)
        assert receipt.status is Status.FAILED
        assert receipt.error is not None
        assert receipt.error.code != "CONTRACT_DEFECT", receipt.error
        return receipt.error.code

    def wait(self, milliseconds: int) -> list[Receipt]:
        """Let time pass, and return what the calendar did then; it must have succeeded."""
        self.chain.advance(milliseconds)
        receipts = list(self.chain.block().receipts)
        assert all(receipt.status is Status.SUCCEEDED for receipt in receipts), receipts
        return receipts

    def agreed(self) -> tuple[Any, ...]:
        """Return what a driver agrees to when he authorizes."""
        provider = self.provider and self.provider.address
        return self.station.address, self.tariff_id, ARBITER.address, provider

    def authorize(self, driver: Account | None = None) -> bytes:
        """Authorize a session."""
        [session_id] = self.ok(driver or self.driver, Charging.authorize, *self.agreed()).results
        assert isinstance(session_id, bytes)
        return session_id

    def started(self, meter_wh: int = 1_000_000, driver: Account | None = None) -> bytes:
        """Authorize a session that began at noon."""
        session_id = self.authorize(driver)
        self.ok(self.station, Charging.start, session_id, "tx-1", meter_wh, NOON)
        return session_id

    def stop(
        self, session_id: bytes, meter_wh: int, hours: int = 1, charged: int = 1, reason: str = "Local", readings: int = 0
    ) -> Receipt:
        """Report the end of a session, so many hours after noon and after so many readings."""
        end, charging_end = NOON + hours * HOUR, NOON + charged * HOUR
        return self.ok(self.station, Charging.stop, session_id, meter_wh, end, charging_end, reason, readings)

    def settled(self, meter_wh: int = 1_010_000, hours: int = 1, charged: int = 1) -> bytes:
        """Play a session that began at noon with 1,000 kWh on the meter."""
        session_id = self.started()
        self.stop(session_id, meter_wh, hours, charged)
        return session_id

    def resolve(self, session_id: bytes, outcome: Outcome, measured: Measured | None = None) -> Receipt:
        """Let the arbiter decide."""
        return self.ok(ARBITER, Charging.resolve, session_id, outcome, measured, "as the meter's own log shows")

    def session(self, session_id: bytes) -> Session:
        """Return a session."""
        session: Session = self.chain.query(Charging.session, session_id)
        return session

    def cdr(self, session_id: bytes) -> Cdr:
        """Return a session's last record."""
        cdr: Cdr = self.chain.query(Charging.cdr, session_id)
        return cdr

    def cdrs(self, session_id: bytes) -> tuple[Cdr, ...]:
        """Return all of a session's records."""
        cdrs: tuple[Cdr, ...] = self.chain.query(Charging.cdrs, session_id)
        return cdrs

    def dispute(self, session_id: bytes) -> Dispute:
        """Return a session's dispute."""
        dispute: Dispute = self.chain.query(Charging.dispute_of, session_id)
        return dispute

    def money(self, who: Account) -> tuple[int, int]:
        """Return what somebody has, free and held."""
        balance = self.chain.balance(who)
        return balance.free, balance.held

    def agree_split(self, provider: Account, share_e4: int, supplier: Account | None = None, supplier_e4: int = 0) -> bytes:
        """Put a split with the operator in force."""
        second = None if supplier is None else Share(supplier.address, supplier_e4)
        [split_id] = self.ok(OPERATOR, Charging.publish_split, Share(provider.address, share_e4), second).results
        assert isinstance(split_id, bytes)
        for partner in (provider, *((supplier,) if supplier else ())):
            self.ok(partner, Charging.accept_split, split_id)
        return split_id


def site_with(terms: TariffTerms, operators: Mapping[str, Account] | None = None) -> Site:
    """Return a chain with one station under a tariff, and further operators by their ids."""
    chain = Chain({NAME: Charging})
    made = Site(chain, account("station"), chain.account("driver", 100 * MOTES_PER_DATR), terms.tariff_id())
    for operator_id, operator in {"DE*DTC": OPERATOR, **(operators or {})}.items():
        made.ok(operator, Charging.register_operator, operator_id, operator.name, operator.address, ARBITER.address)
    made.ok(OPERATOR, Charging.publish_tariff, terms)
    made.ok(OPERATOR, Charging.add_station, made.station.address, "DE*DTC*E1", made.tariff_id, None)
    return made


def measured(
    meter_wh: int, hours: int = 1, charged: int = 1, start_wh: int = 1_000_000, readings: tuple[MeterPoint, ...] = ()
) -> Measured:
    """Return a session that began at noon, as an arbiter may find it."""
    return Measured(NOON, start_wh, NOON + charged * HOUR, NOON + hours * HOUR, meter_wh, readings)


def events_of(receipt: Receipt) -> list[str]:
    """Return the names of what happened."""
    return [event.name for event in receipt.events]


def disputed(site: Site, session_id: bytes) -> bytes:
    """Return a session whose driver disputes it now."""
    site.ok(site.driver, Charging.dispute, session_id, "too much")
    return session_id


def totals(site: Site, session_id: bytes) -> list[int]:
    """Return what the records of a session come to, one after the other."""
    return [cdr.total_incl_vat for cdr in site.cdrs(session_id)]
