"""Entry point of the `datacar` command: arguments in, calls out. The command groups live in `node/commands/`.

Each family is one file there, named in `FAMILIES` and imported only when it is used, so that help and completion are quick and a
part that is not installed costs nothing until someone asks for it. A family may have a contract's methods as commands besides, or
nothing else; a registered contract that no family names is a group of its own name.
"""

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from ledger.errors import DatacarError
from node.commands.exits import report
from node.commands.output import JSON_KEY


@dataclass(frozen=True, slots=True)
class Family:
    """A command or group: `node/commands/<name>.py` exports it as the typer app `app`.

    The methods of `contract` are commands of it, but for those that the module lists as `SERVED_METHODS`; without a file of its
    own they are all there is.
    """

    name: str
    help: str
    panel: str
    contract: str = ""

    @property
    def is_installed(self) -> bool:
        """Return whether the command's file is there (what it imports may still be missing)."""
        return importlib.util.find_spec(f"node.commands.{self.name}") is not None

    def load(self) -> Any:
        """Return the command. Raises `DatacarError` when this installation lacks what it needs."""
        try:
            return self._load()
        except ModuleNotFoundError as error:
            raise DatacarError(
                "not_installed",
                f"`datacar {self.name}` needs the Python module {error.name}, which is not installed here",
                hint="it may need a source checkout, or an extra: pip install 'datacar[plot]'",
                module=error.name,
            ) from error

    def _load(self) -> Any:
        if self.contract and not self.is_installed:
            if (group := _contract_group(self.contract)) is None:
                raise DatacarError("not_installed", f"there is no contract {self.contract} here", hint="update this software")
            return group
        module = importlib.import_module(f"node.commands.{self.name}")
        command: Any = typer.main.get_command(module.app)
        command.params = [param for param in command.params if param.name not in ("install_completion", "show_completion")]
        if self.contract:
            served = getattr(module, "SERVED_METHODS", ())
            importlib.import_module("node.commands.contract_group").extend(command, self.contract, served)
        return command


def _contract_group(contract: str) -> Any:
    """Return the commands of a contract, None where none of this name is registered; only here contracts are imported."""
    return importlib.import_module("node.commands.contract_group").group_of(contract)


_NODE: Final = "Run a node"
_MONEY: Final = "Accounts and money"
_CHAIN: Final = "Look at the chain"
_TOOLS: Final = "Develop and measure"

FAMILIES: Final = (
    Family("devnet", "Run a network of real nodes on this machine.", _TOOLS),
    Family("bench", "Measure hashing, signatures, state, storage and whole clusters.", _TOOLS),
    Family("rpc", "Call any JSON-RPC method of a node.", _TOOLS),
    Family("init", "Make keys, certificate and configuration of a new member.", _NODE),
    Family("start", "Run this member's node.", _NODE),
    Family("db", "Check, shrink, copy, compare and export a stopped node's ledger.", _NODE),
    Family("config", "Show, change and check a node's configuration.", _NODE),
    Family("genesis", "Make and check what a chain starts from.", _NODE),
    Family("gov", "Propose, vote and rotate: who the members are, and what the chain's rules are.", _NODE, "governance"),
    Family("version", "Print the version.", _NODE),
    Family("wallet", "Keys, balances and payments.", _MONEY),
    Family("tx", "Send, follow and read transactions.", _MONEY),
    Family("asset", "Transfers, holds, allowances and issued assets.", _MONEY, "asset"),
    Family("charging", "Stations, tariffs and sessions; price them, and play real ones.", _MONEY, "charging"),
    Family("loan", "Offer, accept and repay loans; quote their schedules.", _MONEY, "loan"),
    Family("order", "Standing orders: parking, insurance, leases.", _MONEY, "order"),
    Family("multisig", "Decide together on the chain what an account of several keys does.", _MONEY, "multisig"),
    Family("account", "Show an account.", _CHAIN),
    Family("block", "Show a block.", _CHAIN),
    Family("members", "List the members: those that vote, and the observers.", _CHAIN),
    Family("proof", "Prove a payment, a balance or a value; check such a proof offline.", _CHAIN),
    Family("peers", "List a node's connections to the other members.", _CHAIN),
)


class Root(TyperGroup):
    """The root group: lists the families without importing them, and turns errors into messages and exit codes."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self._families = {family.name: family for family in FAMILIES}
        self._families |= {family.contract: family for family in FAMILIES if family.contract}
        for family in FAMILIES:
            self.add_command(TyperCommand(name=family.name, help=family.help, rich_help_panel=family.panel))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command that is about to run or be completed; here its module is imported."""
        family = self._families.get(args[0])
        if family is None:
            found = _contract_group(args[0]) if args[0].isidentifier() and not ctx.resilient_parsing else None
            return super().resolve_command(ctx, args) if found is None else (args[0], found, args[1:])
        name, command, rest = super().resolve_command(ctx, [family.name, *args[1:]])
        if ctx.resilient_parsing and not family.is_installed and not family.contract:
            return name, command, rest
        return name, family.load(), rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command; errors meant for people end it with their exit code instead of a traceback."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (DatacarError, OSError) as error:
            raise typer.Exit(report(error, as_json=ctx.meta.get(JSON_KEY, False))) from error


app = typer.Typer(
    cls=Root,
    help="Datacar: a permissioned blockchain for the automotive world.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback with local variables would show keys
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root() -> None:
    """Datacar: a permissioned blockchain for the automotive world."""


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
