"""Plays real charging sessions through a running network: every authorization, start, reading and stop is a transaction.

The accounts are made for this run, with fresh random keys, and funded by the development faucet: a driver for each user (and for
each session that nobody claimed), an operator, and for each station an account that signs its reports and another that is paid.
What a station earned is read back from the chain at the end, not computed here.
"""

import asyncio
import secrets
import string
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from datacar.async_client import AsyncClient
from datacar.batch import BatchSender
from datacar.errors import BadAnswerError, OutcomeUnknownError, TransactionFailedError
from datacar.receipt import Receipt
from datacar.sessions_file import RealSession, Rejected
from datacar.transactions import ChainInfo, build
from datacar.wallet import Wallet
from ledger.crypto import SEED_BYTES
from ledger.errors import DatacarError
from ledger.policy import parse_address
from ledger.transaction import Call
from ledger.types import Motes
from vm.contracts.asset import Asset
from vm.contracts.charging import NAME as CHARGING
from vm.contracts.charging import Charging
from vm.contracts.charging_events import SessionCompleted
from vm.contracts.charging_types import TariffTerms
from vm.registry import default_registry
from vm.session_pricing import price_profile
from vm.tariff import BadTariffError, Tariff

OPEN_SESSIONS: Final = 400
"""How many sessions are played at the same time."""
READS: Final = 32
OPERATOR_NAME: Final = "Replay"
GAS_LIMIT: Final = 1_000_000

T = TypeVar("T")

ShowProgress = Callable[[int, int], None]
"""Told how many sessions are done, of how many."""


@dataclass(frozen=True, slots=True)
class Earned:
    """What a station's payout account holds at the end."""

    address: str
    motes: int


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What became of the sessions: `sessions` were in the file; what is neither settled nor rejected was not begun."""

    sessions: int
    settled: int
    rejected: tuple[Rejected, ...]
    energy_wh: int
    stations: dict[str, Earned]
    seconds: float

    @property
    def total_motes(self) -> int:
        """Return what all stations were paid."""
        return sum(item.motes for item in self.stations.values())

    def to_json(self) -> dict[str, Any]:
        """Return what `datacar charging replay --json` prints; amounts are decimal strings of motes."""
        return {
            "sessions": self.sessions,
            "settled": self.settled,
            "rejected": [{"session_id": item.session_id, "reason": item.reason} for item in self.rejected],
            "energy_wh": self.energy_wh,
            "total_motes": str(self.total_motes),
            "stations": {key: {"address": item.address, "motes": str(item.motes)} for key, item in self.stations.items()},
            "seconds": round(self.seconds, 3),
        }


@dataclass(slots=True)
class _Driver:
    """Whoever charges: how many sessions he has, and what they cost beyond their holds."""

    wallet: Wallet
    sessions: int = 0
    overshoot: int = 0
    in_turn: list[RealSession] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Station:
    """A station's own account, and the one that is paid."""

    wallet: Wallet
    payout: Wallet


def charging_call(method: Callable[..., Any], *args: Any) -> Call:
    """Return the call of a contract's method with Python arguments. Raises `ContractError` BAD_ARGUMENTS."""
    entry, spec = default_registry().of_function(method)
    return Call(entry.name, spec.name, spec.encode_args(args))


class Replay:
    """One run. `stop()` lets the sessions under way end and begins no others."""

    def __init__(
        self,
        client: AsyncClient,
        tariff: Tariff,
        sessions: Sequence[RealSession],
        rejected: Sequence[Rejected] = (),
        progress: ShowProgress = lambda _done, _total: None,
        *,
        utc_offset_minutes: int = 0,
    ) -> None:
        """`rejected` are lines of the file that are no sessions; they count as played and end up in the result.

        The site's local time, which a tariff's times and days are about, is UTC plus `utc_offset_minutes`.

        Raises `BadTariffError` for a tariff without `preauthorize_amount`: it says how much a driver's hold is.
        """
        if not tariff.preauthorize_motes:
            raise BadTariffError("is needed to authorize sessions", path="$.preauthorize_amount", value=tariff.preauthorize_motes)
        self._client = client
        self._hold = tariff.preauthorize_motes
        self._terms = TariffTerms.of(tariff, utc_offset_minutes)
        self._sessions = sessions
        self._at_once: list[RealSession] = []
        self._progress = progress
        self._stopping = False
        self._total = len(sessions) + len(rejected)
        self._done = len(rejected)
        self._settled = self._energy_wh = 0
        self._rejected = list(rejected)
        self._stations: dict[str, _Station] = {}
        self._drivers: dict[tuple[str, str], _Driver] = {}
        self._operator, self._arbiter = _new_wallet(), _new_wallet()
        self._sender = BatchSender(client)
        self._chain: ChainInfo
        self._chain_seen = 0.0
        self._make_accounts(tariff)

    def stop(self) -> None:
        """Begin no more sessions; `run` returns when those under way have ended."""
        self._stopping = True

    async def run(self) -> ReplayResult:
        """Play all sessions. Raises the errors of `AsyncClient` when the network cannot be used at all."""
        began = time.monotonic()
        self._chain = await self._client.chain_info()
        self._chain_seen = began
        async with self._sender:
            if self._sessions:
                await self._prepare()
                await self._play_all([(session,) for session in self._at_once])
                await self._play_all([driver.in_turn for driver in self._drivers.values()])
        stations = await self._read_back()
        seconds = time.monotonic() - began
        return ReplayResult(self._total, self._settled, tuple(self._rejected), self._energy_wh, stations, seconds)

    # ---- setting the scene

    def _make_accounts(self, tariff: Tariff) -> None:
        """Make the accounts, and tell apart which sessions can be played at once: a debt blocks a driver's next authorization."""
        for session in self._sessions:
            if session.station_id not in self._stations:
                self._stations[session.station_id] = _Station(_new_wallet(), _new_wallet())
            driver = self._drivers.setdefault(_driver_key(session), _Driver(_new_wallet()))
            driver.sessions += 1
            cost = price_profile(tariff, session.profile(self._terms.utc_offset_minutes))
            overshoot = max(0, cost.incl_vat_motes - self._hold)
            driver.overshoot += overshoot
            (driver.in_turn if overshoot else self._at_once).append(session)

    async def _prepare(self) -> None:
        """Fund everybody, publish the tariff, register the operator and its stations."""
        purse = _new_wallet()
        needs = self._needs()
        fees = self._fee * (len(needs) + 1)
        await self._client.faucet(purse.address, amount_motes=sum(needs.values()) + fees)
        published = charging_call(Charging.publish_tariff, self._terms)
        paid = (self._send(purse, charging_call(Asset.transfer, parse_address(to), Motes(need))) for to, need in needs.items())
        await _all([self._send(purse, published), *paid])
        payout, arbiter = parse_address(self._operator.address), parse_address(self._arbiter.address)
        operator = charging_call(Charging.register_operator, _operator_id(), OPERATOR_NAME, payout, arbiter)
        await self._send(self._operator, operator)
        await _all(self._send(self._operator, self._station_call(key, item)) for key, item in self._stations.items())

    def _station_call(self, station_id: str, station: _Station) -> Call:
        """Return the call that registers a station with a payout account of its own."""
        address, payout = parse_address(station.wallet.address), parse_address(station.payout.address)
        return charging_call(Charging.add_station, address, station_id, self._terms.tariff_id(), payout)

    def _needs(self) -> dict[str, int]:
        """Return what each account must be given: drivers their holds and overshoots, all of them their fees."""
        reports: dict[str, int] = defaultdict(int)
        for session in self._sessions:
            reports[session.station_id] += 3
        needs = {
            driver.wallet.address: driver.sessions * (self._hold + 2 * self._fee) + driver.overshoot
            for driver in self._drivers.values()
        }
        stations = {item.wallet.address: reports[key] * self._fee for key, item in self._stations.items()}
        operator = {self._operator.address: (1 + len(stations)) * self._fee}
        return {address: need for address, need in (needs | stations | operator).items() if need}

    # ---- playing

    async def _play_all(self, lines: Sequence[Sequence[RealSession]]) -> None:
        """Play lines of sessions beside one another, those of a line in turn."""
        queue = iter(lines)
        await _all(self._work(queue) for _ in range(min(OPEN_SESSIONS, len(lines))))

    async def _work(self, queue: Iterator[Sequence[RealSession]]) -> None:
        """Take lines from the common queue."""
        for line in queue:
            for session in line:
                if self._stopping:
                    return
                await self._try(session)

    async def _try(self, session: RealSession) -> None:
        """Play one session and note how it ended."""
        try:
            await self._play(session)
            self._settled += 1
        except DatacarError as error:
            self._rejected.append(Rejected(session.session_id, _reason(error)))
            if isinstance(error, OutcomeUnknownError):
                self.stop()  # the network is gone: the next sessions would only wait as long
        self._done += 1
        self._progress(self._done, self._total)

    async def _play(self, session: RealSession) -> None:
        """Play one session: the driver authorizes it, the station reports it, and a debt, if there is one, is paid."""
        driver, station = self._drivers[_driver_key(session)].wallet, self._stations[session.station_id].wallet
        terms = self._terms.tariff_id(), parse_address(self._arbiter.address), None
        authorize = charging_call(Charging.authorize, parse_address(station.address), *terms)
        session_id = _session_id(await self._send(driver, authorize))
        start, end, charged = session.connected_s, session.disconnected_s, session.charging_end_s
        energy = session.energy_wh
        await self._send(station, charging_call(Charging.start, session_id, session.session_id, 0, start))
        await self._send(station, charging_call(Charging.meter, session_id, 1, energy, charged, True))
        receipt = await self._send(station, charging_call(Charging.stop, session_id, energy, end, charged, "EVDisconnected", 1))
        billed_wh, debt = _billed(receipt)
        if debt:
            await self._send(driver, charging_call(Charging.pay_debt, session_id, Motes(debt)))
        self._energy_wh += billed_wh

    @property
    def _fee(self) -> int:
        """Return what a transaction may cost."""
        return GAS_LIMIT * self._chain.gas_price_motes

    async def _send(self, wallet: Wallet, call: Call) -> Receipt:
        elapsed_ms = round((time.monotonic() - self._chain_seen) * 1_000)
        valid_until_ms = self._chain.valid_until_ms() + elapsed_ms
        body = build(self._chain, wallet.policy, [call], gas_limit=GAS_LIMIT, valid_until_ms=valid_until_ms)
        return await self._sender.send(wallet.sign(body, self._chain.genesis_hash))

    # ---- the end

    async def _read_back(self) -> dict[str, Earned]:
        """Return what the chain says each station was paid."""
        room = asyncio.Semaphore(READS)

        async def read(station: _Station) -> Earned:
            async with room:
                balance = await self._client.balance(station.payout.address)
            return Earned(station.payout.address, balance.free)

        found = await _all(read(station) for station in self._stations.values())
        return dict(zip(self._stations, found, strict=True))


def _driver_key(session: RealSession) -> tuple[str, str]:
    """Return whose money a session takes: its user's, or that of a walk-in of its own."""
    return ("user", session.user_id) if session.user_id else ("walk-in", session.session_id)


def _new_wallet() -> Wallet:
    return Wallet.from_seed(secrets.token_bytes(SEED_BYTES))


def _operator_id() -> str:
    """Return an operator's id that hardly another run has: two letters for a country, three more characters."""
    characters = (secrets.choice(string.ascii_uppercase + string.digits) for _ in range(3))
    return "".join(secrets.choice(string.ascii_uppercase) for _ in range(2)) + "*" + "".join(characters)


def _session_id(receipt: Receipt) -> bytes:
    """Return the session's id that `authorize` answered."""
    try:
        return bytes.fromhex(receipt.results[0].removeprefix("0x"))
    except (IndexError, AttributeError, ValueError) as error:
        raise BadAnswerError("authorize answered no session id") from error


def _billed(receipt: Receipt) -> tuple[int, int]:
    """Return the energy in Wh that was billed, and the motes that the driver still owes."""
    for event in receipt.events:
        if event.contract == CHARGING and event.name == SessionCompleted.__name__:
            return int(event.fields["energy_wh"]), int(event.fields["debt"])
    raise BadAnswerError("the receipt of a stop tells of no completed session")


def _reason(error: DatacarError) -> str:
    """Return why a session was rejected, in one line that begins with a stable word."""
    if isinstance(error, TransactionFailedError) and error.receipt.error is not None:
        return f"{error.receipt.error.code}: {error.receipt.error.message}"
    return f"{error.reason}: {error.message}"


async def _all(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return all results in order; when one fails the others end too."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
