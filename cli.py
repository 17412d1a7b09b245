"""Entry point of the `datacar` command: arguments in, calls out. The command groups live in `node/commands/`.

Each family is one file there, named in `FAMILIES` and imported only when it is used, so that help and completion are quick and a
part that is not installed costs nothing until someone asks for it.
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
    """A command or group: `node/commands/<name>.py` exports it as the typer app `app`."""

    name: str
    help: str
    panel: str

    @property
    def is_installed(self) -> bool:
        """Return whether the command's file is there (what it imports may still be missing)."""
        return importlib.util.find_spec(f"node.commands.{self.name}") is not None

    def load(self) -> Any:
        """Return the command. Raises `DatacarError` when this installation lacks what it needs."""
        try:
            module = importlib.import_module(f"node.commands.{self.name}")
        except ModuleNotFoundError as error:
            raise DatacarError(
                "not_installed",
                f"`datacar {self.name}` needs the Python module {error.name}, which is not installed here",
                hint="it may need a source checkout, or an extra: pip install 'datacar[plot]'",
                module=error.name,
            ) from error
        command: Any = typer.main.get_command(module.app)
        command.params = [param for param in command.params if param.name not in ("install_completion", "show_completion")]
        return command


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
    Family("gov", "Propose, vote and rotate: who the members are.", _NODE),
    Family("version", "Print the version.", _NODE),
    Family("wallet", "Keys, balances and payments.", _MONEY),
    Family("tx", "Send, follow and read transactions.", _MONEY),
    Family("charging", "Price charging sessions, and play real ones.", _MONEY),
    Family("loan", "Quote a loan's schedule and payoff.", _MONEY),
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
        for family in FAMILIES:
            self.add_command(TyperCommand(name=family.name, help=family.help, rich_help_panel=family.panel))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command that is about to run or be completed; here its module is imported."""
        name, command, rest = super().resolve_command(ctx, args)
        family = self._families.get(name or "")
        if family is None or (ctx.resilient_parsing and not family.is_installed):
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
