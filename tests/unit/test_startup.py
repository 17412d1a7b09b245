"""What a command's help waits for: one contract at most, and nothing that only a running command needs."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import cli
from datacar import on_demand
from node.commands.contract_group import CLASSES
from vm.registry import default_registry

HEAVY: Final = {"vm.registry", "vm.abi_json", "vm.executor", "aiohttp"}
"""The registry imports all contracts; the others are of no use to help either."""


def imported(*args: str) -> set[str]:
    """Return the modules that a command's help imports, in a process of its own."""
    script = "import sys, cli; cli.app(sys.argv[1:], standalone_mode=False); print('|'.join(sys.modules))"
    command = [sys.executable, "-c", script, *args, "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(cli.__file__).parent)
    return set(shown.stdout.splitlines()[-1].split("|"))


@pytest.mark.parametrize("group", ["asset", "charging", "loan", "order", "multisig", "gov"])
def test_the_help_of_a_contract_s_group_imports_no_other_contract_and_no_client(group: str) -> None:
    found = imported(group)
    assert not found & HEAVY
    assert not found & {"datacar.client", "datacar.flows", "datacar.keystore"}


@pytest.mark.parametrize("args", [("wallet",), ("wallet", "send"), ("tx",), ("account",)], ids=" ".join)
def test_the_help_of_other_commands_imports_no_contract(args: tuple[str, ...]) -> None:
    found = imported(*args)
    assert not found & HEAVY
    assert not {name for name in found if name.startswith("vm.contracts.")}


def test_the_table_of_contracts_is_the_registry_s() -> None:
    """Help goes by the table, what runs by the registry."""
    named = {name: where.partition(":")[::2] for name, where in CLASSES.items()}
    found = {name: getattr(importlib.import_module(module), cls) for name, (module, cls) in named.items()}
    registry = default_registry()
    assert found == {name: registry.entry(name).cls for name in registry.names()}


@pytest.mark.parametrize("name", on_demand.__all__)
def test_what_is_imported_on_demand_is_there(name: str) -> None:
    assert getattr(on_demand, name).__name__ == name


def test_nothing_else_is() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Ledger'"):
        _ = on_demand.Ledger
