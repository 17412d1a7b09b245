"""Command groups made of contracts: each write method sends, each read method asks. Hand-made commands of a group win.

`datacar GROUP METHOD --param value`: everything comes from the contract's class, so help needs no node and a contract that is
registered has its commands.
"""

from collections.abc import Callable, Collection, Sequence
from copy import copy
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, Final, TypeAlias, get_args

import typer

from datacar.client import Client
from datacar.human import Lookup
from datacar.shapes import Shape, of_params, priced
from ledger.codec import Value
from ledger.transaction import Call
from node.commands.connection import DEFAULT_RPC, DEFAULT_TIMEOUT, Rpc, Timeout, expect_object
from node.commands.contract_call import DryRun, GasLimit, How, Out, TxReference, Yes, carry_out, check_abi, lookup_of
from node.commands.contract_options import Flag, Given, flags_of
from node.commands.contract_sender import KeyFile, MultisigFile, WalletName, read_sender
from node.commands.contract_view import View, money_of
from node.commands.output import Json
from node.commands.wallet_files import PasswordFile
from vm.abi import MethodKind, MethodSpec
from vm.abi_json import call_to_json
from vm.registry import Registry, default_registry

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
_SENDING: Final = (
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
_STANDARD: Final = {MethodKind.WRITE: _SENDING, MethodKind.READ: _ASKING}
RESERVED: Final = {
    kind: frozenset({each.name.replace("_", "-") for each in options} | {"json", "help"}) for kind, options in _STANDARD.items()
}
"""Options that all commands of a kind of method have: a parameter of such a name gets another one."""


Read: TypeAlias = Callable[[Lookup], tuple[Value, ...]]
"""Returns a call's canonical arguments."""


def group_of(contract: str, registry: Registry | None = None) -> Any:
    """Return the command group of a contract, None where none of this name is registered."""
    known = registry or default_registry()
    if contract not in known.names():
        return None
    app = typer.Typer(help=_escaped(known.entry(contract).spec.doc), no_args_is_help=True, add_completion=False)
    app.callback()(lambda: None)  # a group, also with one command
    return typer.main.get_command(_with_methods(app, known, contract, ()))


def extend(group: Any, contract: str, served: Collection[str] = (), registry: Registry | None = None) -> Any:
    """Add the commands of a contract to a hand-made group, but for methods that it has commands for (or that are `served`)."""
    known = registry or default_registry()
    if contract in known.names():
        app = _with_methods(typer.Typer(add_completion=False), known, contract, served)
        app.callback()(lambda: None)
        made: Any = typer.main.get_command(app)
        for name, command in made.commands.items():
            group.commands.setdefault(name, command)
    return group


def _with_methods(app: typer.Typer, registry: Registry, contract: str, served: Collection[str]) -> typer.Typer:
    for method in registry.entry(contract).spec.methods.values():
        if method.kind in _STANDARD and method.name not in served:
            panel = SENDS if method.kind is MethodKind.WRITE else ASKS
            made = app.command(method.name.replace("_", "-"), help=_escaped(method.doc), rich_help_panel=panel)
            made(_command(registry, contract, method))
    return app


def _command(registry: Registry, contract: str, method: MethodSpec) -> Any:
    """Return the function that Typer makes a command of: its signature is the method's parameters and the standard options."""
    params = of_params(method)
    flags = flags_of(params, RESERVED[method.kind])

    def run(**given: Any) -> None:
        def read(lookup: Lookup) -> tuple[Value, ...]:
            return arguments(params, flags, given, lookup)

        (_send if method.kind is MethodKind.WRITE else _ask)(registry, contract, method.name, read, given)

    own = [parameter for flag in flags for parameter in flag.parameters(required=True)]
    run.__signature__ = Signature([*own, *_STANDARD[method.kind]])  # type: ignore[attr-defined]
    return run


def _send(registry: Registry, contract: str, method: str, read: Read, given: Given) -> None:
    """Carry out a call with the standard options of `given`."""
    how = How(
        yes=given["yes"],
        dry_run=given["dry_run"],
        gas_limit=given["gas_limit"],
        reference=given["tx_reference"],
        out=given["out"],
        as_json=given["as_json"],
    )
    with Client(given["rpc"], given["timeout"]) as client:
        call = Call(contract, method, read(lookup_of(client, registry)))
        how.check(several_keys=given["multisig"] is not None)
        sender = read_sender(given["wallet"], given["key"], given["multisig"], given["password_file"])
        carry_out(client, registry, sender, call, how)


def sends(contract: str, method: str) -> Callable[[Callable[..., tuple[Value, ...]]], Callable[..., None]]:
    """Make a hand-made command of a function that returns a method's canonical arguments: it gets the standard options too."""

    def decorate(read: Callable[..., tuple[Value, ...]]) -> Callable[..., None]:
        own = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in signature(read).parameters.values()]

        @wraps(read)
        def run(**given: Any) -> None:
            args = read(**{each.name: given[each.name] for each in own})
            _send(default_registry(), contract, method, lambda _lookup: args, given)

        run.__signature__ = Signature([*own, *_SENDING])  # type: ignore[attr-defined]
        return run

    return decorate


def _ask(registry: Registry, contract: str, method: str, read: Read, given: Given) -> None:
    """Ask a read method with the standard options of `given`, and print what it answers."""
    with Client(given["rpc"], given["timeout"]) as client:
        call = Call(contract, method, read(lookup_of(client, registry)))
        check_abi(client, registry, contract, method)
        asked = {**call_to_json(registry, call), **({} if given["height"] is None else {"height": given["height"]})}
        found = expect_object(client.call("contract_query", **asked), "value")
        View.of(registry, money_of(client)).print_value(call, found["value"], found["height"], as_json=given["as_json"])


def arguments(params: tuple[Shape, ...], flags: Sequence[Flag], given: Given, lookup: Lookup) -> tuple[Value, ...]:
    """Return a method's canonical arguments; amounts are read in the asset that is named beside them.

    Raises a usage error that names the option.
    """
    named = {flag.shape.name: flag.value(given, lookup) for flag in flags if flag.names_asset}
    shapes = priced(params, named, lookup.money)
    return tuple(flag.reshaped(shape).value(given, lookup) for flag, shape in zip(flags, shapes, strict=True))


def _escaped(text: str) -> str:
    """Return text without markup."""
    return text.replace("[", r"\[")
