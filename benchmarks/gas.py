"""What a unit of gas takes: nanoseconds of each thing that execution charges for, over what it charges (`vm.gas`).

One unit should be about a nanosecond of one core, and nothing may take a block much more time than its gas says: a block's gas
bounds how long its execution takes. Storage is read from LevelDB, through its cache; a written value is what a block adds to
its overlay. Each figure is the difference between many and none of the thing, in one transaction.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

from rich.table import Table

from benchmarks.report import Machine, Summary
from ledger.codec import Value
from ledger.crypto import public_key
from ledger.hashing import ZERO_HASH
from ledger.policy import KeyPolicy, contract_address
from ledger.transaction import SALT_BYTES, Call, TransactionBody, chain_tag_of
from ledger.types import Height, Motes
from node.storage import LevelStore
from vm.context import BlockContext
from vm.contract import U32, Bounds, Bytes, Context, Contract, Map, write
from vm.contracts.asset import NAME as ASSET
from vm.contracts.asset import SUPPLY, Allocation, Asset, Category
from vm.contracts.charging import NAME as CHARGING
from vm.contracts.charging import Charging
from vm.contracts.charging_types import TariffTerms
from vm.contracts.schedule import NAME as SCHEDULE
from vm.contracts.schedule import Schedule
from vm.executor import Executor
from vm.registry import Registry
from vm.tariff import ELEMENTS_MAX, Dimension, parse_tariff

MANY: Final = 200
SMALL: Final = 32
LARGE: Final = 4_096
GAS_LIMIT: Final = 10**9
NOW_MS: Final = 1_700_000_000_000
_SEED: Final = bytes(32)
_POLICY: Final = KeyPolicy.single(public_key(_SEED))
_SENDER: Final = _POLICY.address
_PAYEE: Final = KeyPolicy.single(public_key(b"\1" * 32)).address


@dataclass(frozen=True, slots=True)
class Said:
    """An event of so many bytes."""

    data: Bytes


class Probe(Contract, events=(Said,)):
    """Does one thing so many times, with so many bytes or items."""

    values: Map[tuple[U32, U32], Bytes]

    @write
    def put(self, count: U32, size: U32) -> None:
        """Write values."""
        for key in range(count):
            self.values[size, key] = bytes(size)

    @write
    def get(self, count: U32, size: U32) -> None:
        """Read what `put` wrote in an earlier block."""
        for key in range(count):
            self.values.get((size, key))

    @write
    def say(self, ctx: Context, count: U32, size: U32) -> None:
        """Emit events of `size` bytes."""
        for _ in range(count):
            ctx.emit(Said(bytes(size)))

    @write
    def enter(self, ctx: Context, count: U32, size: U32) -> None:
        """Call another method; its argument has `size` items."""
        argument = tuple(range(size))
        for _ in range(count):
            ctx.call(Probe.take, argument)

    @write
    def take(self, numbers: Annotated[tuple[U32, ...], Bounds(0, 1_024)]) -> None:
        """Take numbers, and do nothing with them."""


@dataclass(frozen=True, slots=True)
class GasRow:
    """One thing: the gas it is charged, its time, and the ratio of the two (1 is right, more is too cheap)."""

    name: str
    gas: int
    ns: Summary
    ns_per_gas: float


@dataclass(frozen=True, slots=True)
class GasReport:
    """The figures, one row for each thing."""

    benchmark: str
    machine: Machine
    rows: tuple[GasRow, ...]

    def table(self) -> Table:
        """Return a table with a line for each thing."""
        table = Table(title="Gas: what is charged, and what it takes")
        for name in ("what", "gas", "ns (spread)", "ns/gas"):
            table.add_column(name, justify="left" if name == "what" else "right")
        for row in self.rows:
            table.add_row(row.name, f"{row.gas:,}", f"{row.ns.median:,.0f} ({row.ns.spread:.0%})", f"{row.ns_per_gas:.2f}")
        return table


def run(*, quick: bool = False) -> GasReport:
    """Measure everything: about 5 s, less when `quick`."""
    machine, repeats = Machine.here(), 5 if quick else 25
    with _bench() as bench:
        rows = [
            bench.row(f"{what} of {size:,} bytes", method, size, repeats)
            for what, method in (("write", Probe.put), ("read", Probe.get), ("event", Probe.say))
            for size in (SMALL, LARGE)
        ]
        rows += [bench.row(f"call with {size} numbers", Probe.enter, size, repeats) for size in (0, 100)]
        rows.append(bench.transfer(repeats))
        rows += bench.charging(repeats)
    return GasReport("gas", machine, tuple(rows))


class _Bench:
    """A state in LevelDB, and a way to run calls on it."""

    def __init__(self, store: LevelStore) -> None:
        self._registry = Registry({ASSET: Asset, CHARGING: Charging, SCHEDULE: Schedule, "probe": Probe})
        self._executor = Executor(self._registry)
        self._store = store
        self._context = BlockContext(Height(1), NOW_MS, 0, contract_address("fees"), max_gas=10**12)
        everything = (Allocation(_SENDER, SUPPLY, Category.OTHER, None, None),)
        params = {ASSET: self._registry.of_function(Asset.distribute)[1].encode_args((everything,))}
        store.apply(self._executor.genesis_state(params, 1))
        for size in (SMALL, LARGE):
            self._commit(self._call(Probe.put, MANY, size))

    def _commit(self, *calls: Call) -> tuple[Value, ...]:
        """Execute a block of these calls, which must succeed, keep what they do, and return their results."""
        body = TransactionBody(_POLICY, bytes(SALT_BYTES), NOW_MS, chain_tag_of(ZERO_HASH), calls, GAS_LIMIT)
        execution = self._executor.execute(self._store, self._context, [body.sign(ZERO_HASH, (_SEED,))])
        [receipt] = execution.receipts
        if receipt.error is not None:
            raise RuntimeError(receipt.error)
        self._store.apply(execution.changes)
        return receipt.results

    def row(self, name: str, method: Callable[..., Any], size: int, repeats: int) -> GasRow:
        """Measure one thing by what `MANY` of it add to none."""
        none, many = self._call(method, 0, size), self._call(method, MANY, size)
        samples, used = [], 0
        for _ in range(repeats):
            (base_ns, base_gas), (all_ns, all_gas) = self._run(none), self._run(many)
            used = (all_gas - base_gas) // MANY
            samples.append(max(1.0, (all_ns - base_ns) / MANY))
        return _row(name, used, samples)

    def transfer(self, repeats: int) -> GasRow:
        """Measure a payment: the call alone, without the bytes and the signature of its transaction."""
        return self._one("transfer, first to its payee", self._call(Asset.transfer, _PAYEE, Motes(1)), repeats * 10)

    def charging(self, repeats: int) -> list[GasRow]:
        """Measure a reading and a stop under the tariff that takes longest to prepare; one account has all the roles."""
        tariff = slowest_tariff()
        self._commit(
            self._call(Charging.publish_tariff, tariff),
            self._call(Charging.register_operator, "DE*DTC", "operator", _SENDER, _PAYEE),
            self._call(Charging.add_station, _SENDER, "station", tariff.tariff_id(), None),
        )
        [session_id] = self._commit(self._call(Charging.authorize, _SENDER, tariff.tariff_id(), _PAYEE, None))
        started_s = NOW_MS // 1_000 - 7_200
        self._commit(self._call(Charging.start, session_id, "tx", 0, started_s))
        self._commit(self._call(Charging.meter, session_id, 1, 1_000, started_s + 600, True))
        reading = self._call(Charging.meter, session_id, 2, 2_000, started_s + 1_200, True)
        stop = self._call(Charging.stop, session_id, 3_000, started_s + 3_600, started_s + 3_000, "Local", 1)
        rows = (("charging: reading, slowest tariff", reading), ("charging: stop, slowest tariff", stop))
        return [self._one(name, call, repeats * 4) for name, call in rows]

    def _one(self, name: str, call: Call, samples: int) -> GasRow:
        """Measure one call."""
        runs = [self._run(call) for _ in range(samples)]
        return _row(name, runs[0][1], [float(took_ns) for took_ns, _ in runs])

    def _call(self, method: Callable[..., Any], *args: Any) -> Call:
        entry, spec = self._registry.of_function(method)
        return Call(entry.name, spec.name, spec.encode_args(args))

    def _run(self, call: Call) -> tuple[int, int]:
        """Return the nanoseconds and the gas of a call, which must succeed. Nothing is kept."""
        began_ns = time.perf_counter_ns()
        done = self._executor.simulate_calls(self._store, self._context, _SENDER, (call,), GAS_LIMIT)
        took_ns = time.perf_counter_ns() - began_ns
        if done.failure is not None:
            raise done.failure
        return took_ns, done.receipt.gas_used


def slowest_tariff() -> TariffTerms:
    """Return the tariff that takes a call longest to prepare: 16 elements over midnight on six days, each with four prices."""
    prices = [{"type": kind, "price": 100_000, "vat": "99.9999", "step_size": 999_983} for kind in Dimension]
    elements = [
        {
            "price_components": prices,
            "restrictions": {
                "start_time": f"{8 + n // 2:02}:{n % 2 * 30:02}",
                "end_time": f"{n // 2:02}:{n % 2 * 30 + 7:02}",
                "day_of_week": ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY"],
            },
        }
        for n in range(ELEMENTS_MAX)
    ]
    return TariffTerms.of(parse_tariff(json.dumps({"elements": elements, "preauthorize_amount": 1})))


@contextmanager
def _bench() -> Iterator[_Bench]:
    with TemporaryDirectory() as folder:
        store = LevelStore(Path(folder) / "state")
        try:
            yield _Bench(store)
        finally:
            store.close()


def _row(name: str, used: int, samples_ns: list[float]) -> GasRow:
    ns = Summary.of(samples_ns)
    return GasRow(name, used, ns, ns.median / used)
