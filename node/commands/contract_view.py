"""How contracts' calls, events and results are shown: money in DATR or its asset, times as dates, accounts by name."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from datacar.client import Client
from datacar.flows import Simulation
from datacar.human import Shown
from datacar.receipt import Event, Receipt
from datacar.shapes import Money, Shape, of_event, of_params, of_result, priced
from datacar.units import DATR, Unit, money
from ledger.errors import DatacarError, RejectedError
from ledger.policy import format_address
from ledger.transaction import Call
from ledger.types import Address
from node.commands.connection import expect_object
from node.commands.contract_sender import known_accounts
from node.commands.output import print_json, print_line, print_pairs, print_table
from vm.abi import Json, MethodKind, MethodSpec, Param
from vm.abi_json import call_to_json, value_from_json
from vm.abi_types import Kind, TypeSpec
from vm.contracts.asset import NAME as ASSET
from vm.contracts.asset import Asset
from vm.contracts.asset_types import AssetError
from vm.registry import Registry


def money_of(client: Client) -> Money:
    """Return what knows the units of issued assets: the node is asked for their decimals, once each."""

    @cache
    def unit(symbol: str) -> Unit:
        query = {"contract": ASSET, "method": Asset.get_asset.__name__, "args": {"symbol": symbol}}
        try:
            answer = expect_object(client.call("contract_query", **query), "asset")
        except RejectedError as error:
            code = error.details.get("code")
            if code != AssetError.UNKNOWN_ASSET.name:
                raise
            hint = "`datacar asset list-assets --first 0` shows those that are there"
            message = f"there is no asset {symbol}"
            raise RejectedError(error.reason, message, hint=hint, contract=ASSET, code=code, symbol=symbol) from error
        return money(symbol, int(answer["value"]["decimals"]))

    return unit


def shown_money(known: Money) -> Money:
    """Return units to show amounts in: of an asset that nobody knows yet, its smallest units."""

    def unit(symbol: str) -> Unit:
        try:
            return known(symbol)
        except RejectedError:
            return offline_money(symbol)

    return unit


def offline_money(symbol: str) -> Unit:
    """Return the unit of an asset where nobody can be asked for its decimals."""
    return money(f"smallest units of {symbol}", 0)


@dataclass(frozen=True, slots=True)
class View:
    """Shows what the registry's contracts take, return and tell."""

    registry: Registry
    shown: Shown

    @classmethod
    def of(cls, registry: Registry, money_units: Money, own: Address | None = None) -> "View":
        """Return a view that names the accounts known on this machine; `own` is the one who acts."""
        known = known_accounts(registry)

        def label(address: Address) -> str:
            text = format_address(address)
            who = "you" if address == own else known.get(text)
            return f"{text} ({who})" if who else text

        return cls(registry, Shown(label, shown_money(money_units), registry))

    def summary(self, calls: Sequence[Call], found: Simulation, gas_price_motes: int) -> list[str]:
        """Return what calls are and would do, in lines: their arguments, the money they move, what else they tell, the cost."""
        view = self._stating(calls)
        lines = [line for call in calls for line in view.call_lines(call)]
        moving = [event for event in found.events if event.contract == ASSET]
        others = [event for event in found.events if event.contract != ASSET]
        lines += ["money:", *(f"  {view.event_text(event)}" for event in moving)] if moving else ["money: none moves"]
        lines += ["events:", *(f"  {view.event_text(event)}" for event in others)] if others else []
        fee = DATR.show(found.gas_limit * gas_price_motes)
        return [*lines, f"gas: {found.gas_used:,}, at most {found.gas_limit:,}; fee: at most {fee}"]

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
                answer = expect_object(client.call("contract_query", **call_to_json(self.registry, asked)), "value")
            except RejectedError:  # there is none such; what the call says of that was simulated
                break
            pairs = self.shown.lines(*self.result(asked, answer["value"]))
            width = max((len(name) for name, _ in pairs), default=0)
            return [f"{param.name} is", *(f"  {name:<{width}}  {text}" for name, text in pairs)]
        return []

    def event_text(self, event: Event) -> str:
        """Return an event in one line; one of a version that is not known here as the node gave it, which is said."""
        name = f"{event.contract}.{event.name}"
        try:
            shapes, values = self._event(event)
        except (DatacarError, KeyError):
            said = ", ".join(f"{part} {value}" for part, value in event.fields.items())
            return f"{name} (another version's; money in motes): {said}"
        return f"{name}: {', '.join(self.shown.named(shapes, values))}"

    def event_json(self, event: Event) -> Json:
        """Return an event in JSON, money in DATR; of one of a version that is not known here the `raw_fields`, as the node gave
        them: money in motes.
        """
        try:
            shapes, values = self._event(event)
        except (DatacarError, KeyError):
            return {"contract": event.contract, "name": event.name, "raw_fields": dict(event.fields)}
        pairs = zip(self.shown.priced(shapes, values), values, strict=True)
        return {
            "contract": event.contract,
            "name": event.name,
            "fields": {part.name: self.shown.to_json(part, value) for part, value in pairs},
        }

    def _event(self, event: Event) -> tuple[tuple[Shape, ...], list[Any]]:
        spec = self.registry.entry(event.contract).spec.event_names[event.name]
        return of_event(spec), [value_from_json(field.type, event.fields[field.name]) for field in spec.fields]

    def result(self, call: Call, data: Json) -> tuple[Shape, Any]:
        """Return what a call returned, of its ABI's JSON form; amounts are in the asset that the call names."""
        spec = self.registry.method(call.contract, call.method)
        return self._result_shape(spec, call), value_from_json(spec.returns, data)

    def _result_shape(self, spec: MethodSpec, call: Call) -> Shape:
        named = {param.name: value for param, value in zip(spec.params, call.args, strict=True) if param.name == "symbol"}
        return priced((of_result(spec),), named, self.shown.money)[0]

    def outcome_json(self, calls: Sequence[Call], results: Sequence[Json], events: Sequence[Event]) -> Json:
        """Return {results, events} of calls in JSON, money in DATR."""
        pairs = zip(calls, results, strict=False)  # a transaction that failed has none
        shown = [self.shown.to_json(*self.result(call, result)) for call, result in pairs]
        return {"results": shown, "events": [self.event_json(event) for event in events]}

    def print_receipt(self, calls: Sequence[Call], receipt: Receipt, *, as_json: bool) -> None:
        """Print how calls ended: their place in the chain, what they returned and what they told."""
        place = {"id": receipt.id, "status": receipt.status, "height": receipt.height, "index": receipt.index}
        if as_json:
            print_json({**place, "gas_used": receipt.gas_used, **self.outcome_json(calls, receipt.results, receipt.events)})
            return
        lines = []
        for number, (call, result) in enumerate(zip(calls, receipt.results, strict=False), 1):
            name = "result" if len(calls) == 1 else f"result {number}"
            lines += self.shown.lines(*self.result(call, result), name) if result is not None else []
        print_pairs({**place, **dict(lines)})
        for event in receipt.events:
            print_line(f"event  {self.event_text(event)}")

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
