"""`datacar gov propose ACTION`: what only a vote of the members can do, each with the options of the method that it proposes.

The calls themselves (`governance.set_parameters`, ...) fail for everybody (`ONLY_BY_VOTE`), so they are no commands.
"""

from functools import partial
from inspect import Parameter, Signature, cleandoc
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand

from datacar.human import Lookup
from datacar.shapes import of_params
from ledger.codec import Value, encode
from node.commands.contract_group import RESERVED, SENDING, MethodGroup, arguments, default_registry, spec_of
from node.commands.contract_options import flags_of
from vm.abi import MethodKind, MethodSpec

GOVERNANCE: Final = "governance"
DAY_MS: Final = 86_400_000
BY_VOTE: Final = {
    GOVERNANCE: (
        "set_parameters",
        "disable_contract",
        "enable_contract",
        "schedule_upgrade",
        "cancel_upgrade",
        "set_threshold",
        "add_auditor",
        "remove_auditor",
    ),
    "asset": ("freeze", "unfreeze", "spend_fees"),
}
"""What is proposed by a command of its own, by contract. The issuer of an asset freezes without a vote."""
_RULES: Final = "Propose what the rules are, or a payment"
_REASON: Final = "proposal_reason"


class ProposeGroup(MethodGroup):
    """The group `gov propose`: commands by hand for members, and one for each method that needs a vote."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for contract, methods in BY_VOTE.items():
            spec = spec_of(contract, None)
            known = {} if spec is None else spec.methods
            for name in methods:
                shown = name.replace("_", "-")
                text = cleandoc(known[name].doc.replace("[", r"\[")).partition("\n\n")[0].partition(" Errors:")[0]
                self.add_command(TyperCommand(shown, help=f"Propose: {text}", rich_help_panel=_RULES))
                self.waiting[shown] = partial(_made, shown, text, contract, known[name])


def _made(name: str, text: str, contract: str, method: MethodSpec) -> Any:
    app = typer.Typer(add_completion=False)
    app.command(name, help=f"Propose: {text}\n\nThe deciding vote does it. `gov propose-calls` proposes several calls at once.")(
        _command(contract, method)
    )
    return typer.main.get_command(app)


def _options() -> list[Parameter]:
    reason = Annotated[str, typer.Option("--reason", help="What the other members should know, such as the evidence.")]
    days = Annotated[int | None, typer.Option("--expires-days", min=1, max=30, help="How long to vote; 7 days if not given.")]
    node = Annotated[Path | None, typer.Option("--node", metavar="DIR", help="A node's folder: its governance.key signs.")]
    made = ((_REASON, reason, ""), ("expires_days", days, None), ("node", node, None))
    return [Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=hint) for name, hint, default in made]


def _command(contract: str, method: MethodSpec) -> Any:
    """Return the function that Typer makes a command of: the method's parameters, and what every proposal has."""
    params = of_params(method)
    taken = {"reason"} if any(param.name == "reason" for param in params) else set()
    flags = flags_of(params, RESERVED[MethodKind.WRITE] | {"expires-days", "node"})
    own = [parameter for flag in flags for parameter in flag.parameters(required=True)]
    options = [each for each in _options() if not (each.name == _REASON and taken)]

    def run(**given: Any) -> None:
        from node.commands import contract_call  # here, since help needs none of it
        from node.node_folder import GOVERNANCE_KEY_NAME

        if given["node"] is not None and given["key"] is None:
            given["key"] = given["node"] / GOVERNANCE_KEY_NAME

        def read(lookup: Lookup) -> tuple[Value, ...]:
            args = arguments(params, flags, given, lookup)
            named = dict(zip((param.name for param in params), args, strict=True))
            reason = named["reason"] if taken else given[_REASON]
            days = given["expires_days"]
            expires_ms = None if days is None else lookup.now_ms() + days * DAY_MS
            return (((contract, method.name, encode(args)),), reason, expires_ms)

        contract_call.send(default_registry(), GOVERNANCE, "propose_calls", read, given)

    run.__signature__ = Signature([*own, *options, *SENDING])  # type: ignore[attr-defined]
    return run
