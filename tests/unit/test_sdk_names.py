"""What `datacar` offers is there under its name, and importing it waits for nothing that is not used."""

import subprocess
import sys

import pytest

import datacar


@pytest.mark.parametrize("name", datacar.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(datacar, name).__name__.removeprefix("datacar.") == name


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Ledger'"):
        _ = datacar.Ledger


def test_the_import_alone_loads_no_network_library() -> None:
    code = "import datacar, sys; print({'aiohttp', 'vm.registry'} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "set()"
