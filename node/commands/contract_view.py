"""How contracts' calls, events, results and failures are shown: money in DATR or its asset, times as dates, accounts by name.

Every command that prints a receipt does it here. With `--json` what RPC gives, in motes, stands beside it as `raw_fields` and
`raw_results`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from datacar import on_demand
from datacar.asset_units import asset_unit
from datacar.client import Client
from datacar.failures import explain, failure_text, offline_money
from datacar.flows import Simulation
from datacar.human import Shown
from datacar.receipt import Event, Failure, Receipt
from datacar.shapes import NAMING, Money, Shape, asset_named, of_an_order, of_event, of_params, of_result, priced
from datacar.units import DATR_SYMBOL, Unit, money
from ledger.codec import encode
from ledger.errors import DatacarError, RejectedError
from ledger.hashing import Tag, digest
from ledger.policy import format_address
from ledger.transaction import Call
from ledger.types import Address
from node.commands.agreement import ASSET, Cost
from node.commands.connection import expect_object
from node.commands.contract_sender import known_accounts
from node.commands.output import print_json, print_line, print_pairs, print_table
from vm.abi import Json, MethodKind, MethodSpec, Param
from vm.abi_types import Kind, TypeSpec

if TYPE_CHECKING:
    from vm.registry import Registry

MAX_IDS_SHOWN: Final = 256
_ORDER: Final = "order"
_ID: Final = re.compile("0x[0-9a-f]{64}")


def money_of(client: Client) -> Money:
    """Return what knows the units of issued assets, holds and orders: the node is asked, once for each."""

    @cache
    def unit(symbol: str) -> Unit:
        try:
            return client.run(asset_unit(symbol))
        except RejectedError as error:
            code = error.details.get("code")
            if code != on_demand.AssetError.UNKNOWN_ASSET.name:
                raise
            hint = "`datacar asset list-assets --first 0` shows those that are there"
            message = f"there is no asset {symbol}"
            raise RejectedError(error.reason, message, hint=hint, contract=ASSET, code=code, symbol=symbol) from error

    return unit


def shown_money(known: Money) -> Money:
    """Return units to show amounts in: of an asset that nobody knows yet, its smallest units."""

    def unit(symbol: str) -> Unit:
        try:
            return known(symbol)
        except RejectedError:
            return offline_money(symbol)

    return unit


@dataclass(frozen=True, slots=True)
class View:
    """Shows what the registry's contracts take, return and tell."""

    registry: "Registry"
    shown: Shown

    @classmethod
    def of(cls, registry: "Registry", money_units: Money, own: Address | None = None) -> "View":
        """Return a view that names the accounts known on this machine; `own` is the one who acts."""
        known = known_accounts(registry)

        def label(address: Address) -> str:
            text = format_address(address)
            who = "you" if address == own else known.get(text)
            return f"{text} ({who})" if who else text

        return cls(registry, Shown(label, shown_money(money_units), registry))

    def summary(self, calls: Sequence[Call], found: Simulation, cost: Cost) -> list[str]:
        """Return what calls are and would do, in lines: their arguments, the money they move, what else they tell, the cost."""
        view = self._stating(calls)
        lines = [line for call in calls for line in view.call_lines(call)]
        moving = [event for event in found.events if event.contract == ASSET]
        others = [event for event in found.events if event.contract != ASSET]
        lines += ["money:", *(f"  {view.event_text(event)}" for event in moving)] if moving else ["money: none moves"]
        lines += ["events:", *(f"  {view.event_text(event)}" for event in others)] if others else []
        return [*undecided(lines, found), *cost.lines()]

    def _stating(self, calls: Sequence[Call]) -> "View":
        """Return it with the units of assets that calls describe themselves: while those are simulated, no node has them."""
        stated: dict[str, Unit] = {}
        for call in calls:
            names = [param.name for param in self.registry.method(call.contract, call.method).params]
            named = dict(zip(names, call.args, strict=True))
            symbol, decimals = named.get("symbol"), named.get("decimals")
            if isinstance(symbol, str) and isinstance(decimals, int):
                stated[symbol] = money(symbol, decimals)
        known = self.shown.money
        return replace(self, shown=replace(self.shown, money=lambda symbol: stated.get(symbol) or known(symbol)))

    def call_lines(self, call: Call) -> list[str]:
        """Return a call's method and arguments, a line each."""
        params = of_params(self.registry.method(call.contract, call.method))
        values = zip(self.shown.priced(params, call.args), call.args, strict=True)
        pairs = [line for param, value in values for line in self.shown.lines(param, value, param.name)]
        width = max((len(name) for name, _ in pairs), default=0)
        return [f"{call.contract}.{call.method}", *(f"  {name:<{width}}  {text}" for name, text in pairs)]

    def about(self, client: Client, call: Call) -> list[str]:
        """Return what the things that a call names by id are, in lines: the loan that is accepted, the proposal that is approved.

        For each argument like `loan_id` that is what a read method of the contract that takes just this answers.
        """
        params = self.registry.method(call.contract, call.method).params
        named = [(param, value) for param, value in zip(params, call.args, strict=True) if param.name.endswith("_id")]
        return [line for param, value in named for line in self._named(client, call.contract, param, value)]

    def _named(self, client: Client, contract: str, param: Param, value: Any) -> list[str]:
        methods = self.registry.entry(contract).spec.methods.values()
        reads = [each for each in methods if each.kind is MethodKind.READ and _names_of(each.params) == _names_of((param,))]
        for read in reads[:1]:
            asked = Call(contract, read.name, (value,))
            try:
                answer = expect_object(client.call("contract_query", **on_demand.call_to_json(self.registry, asked)), "value")
            except RejectedError:  # there is none such; what the call says of that was simulated
                break
            pairs = self.shown.lines(*self.result(asked, answer["value"]))
            width = max((len(name) for name, _ in pairs), default=0)
            return [f"{param.name} is", *(f"  {name:<{width}}  {text}" for name, text in pairs)]
        return []

    def call_text(self, document: Mapping[str, Any]) -> str:
        """Return a call in the ABI's JSON form, in one line; one of a version that is not known here as it is."""
        contract, method, args = document["contract"], document["method"], document["args"]
        try:
            given = on_demand.args_from_json(self.registry.method(contract, method), args)
        except DatacarError:
            return f"{contract}.{method} (another version's; money in motes): {args}"
        return self.shown.call((contract, method, encode(given)))

    def event_text(self, event: Event) -> str:
        """Return an event in one line; one of a version that is not known here as the node gave it, which is said."""
        name = f"{event.contract}.{event.name}"
        try:
            shapes, values = self._event(event)
        except (DatacarError, KeyError):
            said = ", ".join(f"{part} {value}" for part, value in event.fields.items())
            return f"{name} (another version's; money in motes): {said}"
        return f"{name}: {', '.join(self.shown.named(shapes, values))}"

    def event_json(self, event: Event) -> dict[str, Json]:
        """Return an event in JSON, money in DATR; `raw_fields` are as RPC gives them, alone where another version made them."""
        found: dict[str, Json] = {"contract": event.contract, "name": event.name}
        with suppress(DatacarError, KeyError):
            shapes, values = self._event(event)
            pairs = zip(self.shown.priced(shapes, values), values, strict=True)
            found["fields"] = {part.name: self.shown.to_json(part, value) for part, value in pairs}
        return {**found, "raw_fields": dict(event.fields)}

    def outcome_json(self, calls: Sequence[Call], results: Sequence[Json], events: Sequence[Event]) -> dict[str, Json]:
        """Return what calls returned and told in JSON; results only as RPC gives them where the calls are not known."""
        found: dict[str, Json] = {}
        if len(calls) == len(results):
            pairs = zip(calls, results, strict=True)
            found["results"] = [self.shown.to_json(*self.result(call, result)) for call, result in pairs]
        return {**found, "raw_results": list(results), "events": [self.event_json(event) for event in events]}

    def told_json(self, document: Mapping[str, Any]) -> dict[str, Json]:
        """Return a receipt or a simulation as RPC gives it, with what it tells in units for people."""
        others = {name: value for name, value in document.items() if name not in {"results", "events"}}
        return {**others, **self.outcome_json((), document["results"], told_by(document)[0])}

    def failure_text(self, failure: Failure, calls: Sequence[Call] = ()) -> str:
        """Return why a transaction failed, in one line. `calls` say which asset's amounts those are, where it does not."""
        said = failure_text(failure.contract, failure.code, failure.message, self.shown.money, _symbol_of(self.registry, calls))
        return f"{failure.contract} {failure.code}: {said}"

    @contextmanager
    def explaining(self, calls: Sequence[Call]) -> Iterator[None]:
        """Leave a note in errors of which `report` could not know what asset their amounts are of, with those amounts."""
        try:
            yield
        except DatacarError as error:
            with suppress(DatacarError):  # a node that is gone tells no decimals
                said, _ = explain(error, self.shown.money, _symbol_of(self.registry, calls))
                if said != explain(error)[0]:
                    error.add_note(said)
            raise

    def _event(self, event: Event) -> tuple[tuple[Shape, ...], list[Any]]:
        spec = self.registry.entry(event.contract).spec.event_names[event.name]
        shapes = of_an_order(of_event(spec)) if event.contract == _ORDER else of_event(spec)
        return shapes, [on_demand.value_from_json(field.type, event.fields[field.name]) for field in spec.fields]

    def result(self, call: Call, data: Json) -> tuple[Shape, Any]:
        """Return what a call returned, of its ABI's JSON form; amounts are in the asset that the call names."""
        spec = self.registry.method(call.contract, call.method)
        return self._result_shape(spec, call), on_demand.value_from_json(spec.returns, data)

    def _result_shape(self, spec: MethodSpec, call: Call) -> Shape:
        named = {param.name: value for param, value in zip(spec.params, call.args, strict=True) if param.name in NAMING}
        shape = of_result(spec)
        return priced(of_an_order((shape,)) if call.contract == _ORDER else (shape,), named, self.shown.money)[0]

    def print_receipt(self, calls: Sequence[Call], receipt: Receipt, *, as_json: bool, **more: object) -> None:
        """Print how calls ended: their place in the chain, what they returned and what they told. `more` is printed besides."""
        place = {"id": receipt.id, "status": receipt.status, "height": receipt.height, "index": receipt.index}
        if as_json:
            told = self.outcome_json(calls, receipt.results, receipt.events)
            print_json({**place, "gas_used": receipt.gas_used, **told, **more})
            return
        lines = []
        for number, (call, result) in enumerate(zip(calls, receipt.results, strict=False), 1):
            name = "result" if len(calls) == 1 else f"result {number}"
            lines += self.shown.lines(*self.result(call, result), name) if result is not None else []
        print_pairs({**place, **dict(lines), **more})
        self.print_told(receipt.events, receipt.error, calls)

    def print_told(self, events: Sequence[Event], failure: Failure | None, calls: Sequence[Call] = ()) -> None:
        """Print the events of a receipt or a simulation, or why it failed, a line each."""
        for event in events:
            print_line(f"event  {self.event_text(event)}")
        if failure is not None:
            print_line(f"error  {self.failure_text(failure, calls)}")

    def print_value(self, call: Call, data: Json, height: int, *, as_json: bool) -> None:
        """Print what a read method answered at a height: a table for a list of structs, else names and values."""
        shape, value = self.result(call, data)
        if as_json:
            print_json({"height": height, "value": self.shown.to_json(shape, value)})
        elif value is not None and shape.kind is Kind.LIST and shape.parts[0].kind is Kind.STRUCT:
            item = shape.parts[0]
            rows = [
                [self.shown.text(part, each) for part, each in zip(self.shown.priced(item.parts, row), row, strict=True)]
                for row in value
            ]
            print_table([part.name for part in item.parts], rows)
        elif value is not None and shape.kind is Kind.STRUCT:
            print_pairs(dict(self.shown.lines(shape, value)))
        else:
            print_line(self.shown.text(shape, value))


def _names_of(params: Sequence[Param]) -> list[tuple[str, TypeSpec]]:
    return [(param.name, param.type) for param in params]


def undecided(said: Any, simulated: Simulation) -> Any:
    """Return what a simulation said without the ids that it made, as `vm.context` makes them: once signed, there are others."""
    ids = {"0x" + digest(Tag.CONTRACT_ID, simulated.tx_id, number.to_bytes(8)).hex() for number in range(1, MAX_IDS_SHOWN + 1)}

    def without(part: Any) -> Any:
        if isinstance(part, str):
            return _ID.sub(lambda found: "(decided when sent)" if found[0] in ids else found[0], part)
        if isinstance(part, dict):
            return {name: without(value) for name, value in part.items()}
        return [without(value) for value in part] if isinstance(part, list) else part

    return without(said)


def told_by(document: Mapping[str, Any]) -> tuple[list[Event], Failure | None]:
    """Return the events and the failure in a receipt or a simulation as RPC gives it."""
    events = [Event(item["contract"], item["name"], item["fields"]) for item in document["events"]]
    error = document["error"]
    return events, None if error is None else Failure(error["contract"], error["code"], error["message"])


def _symbol_of(registry: "Registry", calls: Sequence[Call]) -> str:
    """Return the one asset that calls are about (as `asset_named`), DATR where they name none; empty where there are several, or
    nobody knows.
    """
    found = set()
    for call in calls:
        try:
            names = [param.name for param in registry.method(call.contract, call.method).params]
        except DatacarError:
            return ""
        named = {name: value for name, value in zip(names, call.args, strict=False) if name in NAMING}
        found.add(asset_named(named) or DATR_SYMBOL)
    return found.pop() if len(found) == 1 else ""
