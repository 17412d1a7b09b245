"""Random calls of every contract, made from their ABI: mostly well typed, some wrong, many with ids that the chain has given.

Ids, numbers and words are harvested from events by the names of their fields and given to parameters of these names, so that
sessions get started, loans accepted and proposals voted on without a script.
What a random value would never satisfy (a loan's terms, a tariff) comes from `SAMPLES`, by the name of its type.
"""

from collections.abc import Callable, Mapping
from random import Random
from typing import Final

from ledger.block import Receipt
from ledger.codec import Value
from ledger.policy import contract_address
from ledger.transaction import Call
from tests.vm_harness import Account
from vm.abi import MethodKind, Param
from vm.abi_types import Kind, TypeSpec
from vm.contracts.governance_types import NAME as GOVERNANCE
from vm.registry import Registry

HARVEST: Final = 20
"""How many of the values that events had under a name are remembered: the newest."""
REUSED: Final = 0.8
"""How often a parameter gets one of those."""
WRONG: Final = 0.01
"""The share of arguments that are of another type."""
OPENING: Final = ("transfer", "issue", "hold_for", "publish_tariff", "authorize", "offer", "open", "propose", "propose_calls")
"""Methods that begin something, without which most others have nothing to go on."""
OPENED: Final = 0.4
EXTREME: Final = 0.1
"""The share of numbers and amounts at the bounds of their types, and of addresses that nobody has the key of."""

Sample = Callable[["CallMaker"], Value]


class CallMaker:
    """Makes calls. All randomness comes from `rng`; `now_ms` is the time of the block they are for."""

    def __init__(self, registry: Registry, rng: Random, accounts: tuple[Account, ...], samples: Mapping[str, Sample]) -> None:
        self.rng = rng
        self.accounts = accounts
        self.now_ms = 0
        self.made = 0
        self._registry = registry
        self._samples = samples
        self._methods = {
            name: written
            for name in registry.names()
            if (written := [each for each in registry.entry(name).spec.methods.values() if each.kind is MethodKind.WRITE])
        }
        self._addresses = [account.address for account in accounts]
        self._contracts = [contract_address(name) for name in registry.names()]
        self._known: dict[str, list[Value]] = {}
        self._parties: dict[Value, tuple[Value, ...]] = {}

    def make(self) -> tuple[Account, Call]:
        """Return a call and who signs it."""
        self.made += 1
        contract = self.rng.choice(list(self._methods))
        methods = self._methods[contract]
        method = self.rng.choice([each for each in methods if each.name in OPENING] if self.rng.random() < OPENED else methods)
        args = tuple(map(self._argument, method.params))
        return self._sender(contract, args), Call(contract, method.name, args)

    def _sender(self, contract: str, args: tuple[Value, ...]) -> Account:
        """Return mostly one whom an event named beside an id that is now an argument; for governance often the member."""
        parties = [each for each in self.accounts if any(each.address in self._parties.get(arg, ()) for arg in args)]
        if parties and self.rng.random() < REUSED:
            return self.rng.choice(parties)
        return self.accounts[0] if contract == GOVERNANCE and self.rng.random() < REUSED else self.rng.choice(self.accounts)

    def learn(self, receipt: Receipt) -> None:
        """Remember what the events of a receipt speak of."""
        for event in receipt.events:
            spec = self._registry.entry(event.contract).spec.event_names[event.name]
            named = tuple(value for part, value in zip(spec.fields, event.fields, strict=True) if part.type.kind is Kind.ADDRESS)
            for part, value in zip(spec.fields, event.fields, strict=True):
                if part.type.kind in (Kind.BYTES, Kind.INT, Kind.TEXT):
                    known = self._known.setdefault(part.name, [])
                    known.append(value)
                    del known[:-HARVEST]
                    if named and part.type.kind is not Kind.TEXT:
                        self._parties[value] = named

    def _argument(self, param: Param) -> Value:
        if self.rng.random() < WRONG:
            return self.rng.choice((None, -1, 2**64 - 1, "", "\u0130x", b"", b"\xff" * 33, (), ((),), True))
        return self._value(param.type, param.name)

    def _value(self, spec: TypeSpec, name: str) -> Value:  # noqa: C901 (one case for each kind)
        rng = self.rng
        known = self._known.get(name) if spec.kind in (Kind.BYTES, Kind.INT, Kind.TEXT) else None
        if known and rng.random() < REUSED:
            return rng.choice(known)
        if (sample := self._samples.get(spec.name) or self._samples.get(name)) is not None:
            return sample(self)
        match spec.kind:
            case Kind.NONE:
                return None
            case Kind.BOOL:
                return rng.random() < 0.5
            case Kind.INT:
                return self._int(spec, name)
            case Kind.MOTES:
                return rng.choice((0, spec.high)) if self._is_extreme() else rng.randrange(1, 10 ** rng.randrange(2, 12))
            case Kind.ADDRESS:
                return rng.choice(self._contracts if self._is_extreme() else self._addresses)
            case Kind.BYTES:
                return self._bytes(spec)
            case Kind.TEXT:
                return ("x" * spec.low or rng.choice(("", "a", "gr\u00fc\u00df", "CARM")))[: spec.high]
            case Kind.ENUM:
                return rng.choice(spec.names)
            case Kind.LIST:
                count = rng.randint(spec.low, min(spec.high, spec.low + 3))
                return tuple(self._value(spec.items[0], name) for _ in range(count))
            case Kind.TUPLE | Kind.STRUCT:
                names = spec.names or (name,) * len(spec.items)
                return tuple(self._value(item, part) for item, part in zip(spec.items, names, strict=True))
            case Kind.OPTIONAL:
                return None if rng.random() < 0.5 else self._value(spec.items[0], name)

    def _is_extreme(self) -> bool:
        return self.rng.random() < EXTREME

    def _int(self, spec: TypeSpec, name: str) -> int:
        rng = self.rng
        if name.endswith(("_ms", "_s")):
            ahead_ms = rng.choice((-3_600_000, -1_000, 0, 60_000, 86_400_000, 10 * 86_400_000))
            value = self.now_ms + ahead_ms
            value = value if name.endswith("_ms") else value // 1_000
        elif self._is_extreme():
            value = rng.choice((spec.low, spec.high))
        else:
            value = rng.randrange(rng.choice((3, 100, 10_000)))
        return min(max(value, spec.low), spec.high)

    def _bytes(self, spec: TypeSpec) -> bytes:
        return self.rng.randbytes(min(max(spec.low, 8), spec.high))
