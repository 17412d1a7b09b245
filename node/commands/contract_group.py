"""Command groups made of contracts: each write method sends, each read method asks. Hand-made commands of a group win.

`datacar GROUP METHOD --param value`: everything comes from the contract's class, so help needs no node and a contract that is
registered has its commands. Help imports the one contract that it is about; all else waits until a command runs.
"""

import importlib
from collections.abc import Callable, Collection, Sequence
from copy import copy
from functools import partial, wraps
from inspect import Parameter, Signature, cleandoc, signature
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args

import typer
from typer.core import TyperCommand, TyperGroup

from datacar import on_demand
from datacar.human import Lookup
from datacar.shapes import Shape, of_params, priced
from ledger.codec import Value
from node.commands.connection import DEFAULT_RPC, DEFAULT_TIMEOUT, Rpc, Timeout
from node.commands.contract_options import Flag, Given, flags_of
from node.commands.output import Json
from node.commands.sending_options import (
    DryRun,
    GasLimit,
    KeyFile,
    MultisigFile,
    Out,
    PasswordFile,
    TxReference,
    WalletName,
    Yes,
)
from vm.abi import ContractSpec, MethodKind, MethodSpec

if TYPE_CHECKING:
    from vm.registry import Registry

CLASSES: Final = {
    "asset": "vm.contracts.asset:Asset",
    "charging": "vm.contracts.charging:Charging",
    "governance": "vm.contracts.governance:Governance",
    "loan": "vm.contracts.loan:Loan",
    "multisig": "vm.contracts.multisig:Multisig",
    "order": "vm.contracts.order:StandingOrder",
    "schedule": "vm.contracts.schedule:Schedule",
}
"""Where the classes of the chain's contracts are, so that a command's help imports one of them; any other is looked up in the
registry, which has the last word on what runs (a test compares the two)."""

SENDS: Final = "Send a transaction"
ASKS: Final = "Ask"

Height = Annotated[int | None, typer.Option("--height", min=0, help="The state after this block; the latest if not given.")]

HOW: Final = "How"


def _options(*given: tuple[str, Any, object]) -> tuple[Parameter, ...]:
    """Return the parameters of options (name, annotation, default) that every command has, in a help panel of their own."""
    made = []
    for name, hint, default in given:
        kind, option = get_args(hint)
        option = copy(option)
        option.rich_help_panel = HOW
        made.append(Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]))
    return tuple(made)


_CONNECTION: Final = _options(("rpc", Rpc, DEFAULT_RPC), ("timeout", Timeout, DEFAULT_TIMEOUT), ("as_json", Json, False))
SENDING: Final = (
    *_options(
        ("wallet", WalletName, None),
        ("key", KeyFile, None),
        ("multisig", MultisigFile, None),
        ("out", Out, None),
        ("password_file", PasswordFile, None),
        ("yes", Yes, False),
        ("dry_run", DryRun, False),
        ("gas_limit", GasLimit, None),
        ("tx_reference", TxReference, ""),
    ),
    *_CONNECTION,
)
_ASKING: Final = (*_options(("height", Height, None)), *_CONNECTION)
_STANDARD: Final = {MethodKind.WRITE: SENDING, MethodKind.READ: _ASKING}
RESERVED: Final = {
    kind: frozenset({each.name.replace("_", "-") for each in options} | {"json", "help"}) for kind, options in _STANDARD.items()
}
"""Options that all commands of a kind of method have: a parameter of such a name gets another one."""


class MethodGroup(TyperGroup):
    """A group that lists its methods by their name and doc; a method's options are made when it is called, or its help is."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.waiting: dict[str, Callable[[], Any]] = {}

    def made(self, name: str) -> Any:
        """Return a command with its options, None where there is none of this name."""
        if (make := self.waiting.pop(name, None)) is not None:
            self.commands[name] = make()
        return self.commands.get(name)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command that is about to run or be completed."""
        self.made(args[0])
        return super().resolve_command(ctx, args)


def default_registry() -> "Registry":
    """Return the contracts that commands call."""
    return on_demand.default_registry()


def group_of(contract: str, registry: "Registry | None" = None) -> Any:
    """Return the command group of a contract, None where none of this name is registered."""
    spec = spec_of(contract, registry)
    if spec is None:
        return None
    app = typer.Typer(help=_escaped(spec.doc), no_args_is_help=True, add_completion=False, cls=MethodGroup)
    app.callback()(lambda: None)  # a group, also with one command
    return _with_methods(typer.main.get_command(app), spec, registry, contract, ())


def extend(group: Any, contract: str, served: Collection[str] = (), registry: "Registry | None" = None) -> Any:
    """Add the commands of a contract to a hand-made group, but for methods that it has commands for (or that are `served`)."""
    spec = spec_of(contract, registry)
    return group if spec is None else _with_methods(group, spec, registry, contract, served)


def spec_of(contract: str, registry: "Registry | None") -> ContractSpec | None:
    """Return a contract's interface, None where there is no such contract; without a `registry` it is the chain's."""
    if registry is None and contract in CLASSES:
        module, _, name = CLASSES[contract].partition(":")
        found: ContractSpec = getattr(importlib.import_module(module), name).spec
        return found
    known = registry or default_registry()
    return known.entry(contract).spec if contract in known.names() else None


def _with_methods(group: Any, spec: ContractSpec, registry: "Registry | None", contract: str, served: Collection[str]) -> Any:
    """Return a `MethodGroup` with the methods of a contract, but for those that it has commands for."""
    for method in spec.methods.values():
        name = method.name.replace("_", "-")
        if method.kind in _STANDARD and method.name not in served and name not in group.commands:
            panel = SENDS if method.kind is MethodKind.WRITE else ASKS
            shown = cleandoc(_escaped(method.doc))
            group.add_command(TyperCommand(name, help=shown, rich_help_panel=panel))
            group.waiting[name] = partial(_made, name, shown, registry, contract, method)
    return group


def _made(name: str, shown: str, registry: "Registry | None", contract: str, method: MethodSpec) -> Any:
    app = typer.Typer(add_completion=False)
    app.command(name, help=shown)(_command(registry, contract, method))
    return typer.main.get_command(app)


def _command(registry: "Registry | None", contract: str, method: MethodSpec) -> Any:
    """Return the function that Typer makes a command of: its signature is the method's parameters and the standard options."""
    params = of_params(method)
    flags = flags_of(params, RESERVED[method.kind])

    def run(**given: Any) -> None:
        def read(lookup: Lookup) -> tuple[Value, ...]:
            return arguments(params, flags, given, lookup)

        from node.commands import contract_call  # here, since help needs none of it

        carry_out = contract_call.send if method.kind is MethodKind.WRITE else contract_call.ask
        carry_out(registry or default_registry(), contract, method.name, read, given)

    own = [parameter for flag in flags for parameter in flag.parameters(required=True)]
    run.__signature__ = Signature([*own, *_STANDARD[method.kind]])  # type: ignore[attr-defined]
    return run


def sends(contract: str, method: str) -> Callable[[Callable[..., tuple[Value, ...]]], Callable[..., None]]:
    """Make a hand-made command of a function that returns a method's canonical arguments: it gets the standard options too."""

    def decorate(read: Callable[..., tuple[Value, ...]]) -> Callable[..., None]:
        own = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in signature(read).parameters.values()]

        @wraps(read)
        def run(**given: Any) -> None:
            from node.commands import contract_call  # here, since help needs none of it

            args = read(**{each.name: given[each.name] for each in own})
            contract_call.send(default_registry(), contract, method, lambda _lookup: args, given)

        run.__signature__ = Signature([*own, *SENDING])  # type: ignore[attr-defined]
        return run

    return decorate


def arguments(params: tuple[Shape, ...], flags: Sequence[Flag], given: Given, lookup: Lookup) -> tuple[Value, ...]:
    """Return a method's canonical arguments, read in the units that are named beside them; a node is asked for what those are.

    Raises a usage error that names the option.
    """
    named = {flag.shape.name: flag.value(given, lookup) for flag in flags if flag.names_unit}
    shapes = priced(params, named, lookup.money)
    return tuple(flag.reshaped(shape).value(given, lookup) for flag, shape in zip(flags, shapes, strict=True))


def _escaped(text: str) -> str:
    """Return text without markup."""
    return text.replace("[", r"\[")
