"""The page for contract authors: its contract and its test are run as they stand there, its figures are the code's."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.vm_harness import Chain
from vm import context, gas
from vm.abi import document
from vm.contract import Contract

PAGE = (Path(__file__).parents[2] / "docs" / "contracts.md").read_text()
CONTRACT, TEST = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
MODULE = "vm.contracts.parking"


@pytest.fixture
def parking() -> Iterator[ModuleType]:
    """The page's contract as the module that it says it would be."""
    module = sys.modules[MODULE] = ModuleType(MODULE)
    try:
        exec(compile(CONTRACT, "docs/contracts.md", "exec"), module.__dict__)
        yield module
    finally:
        del sys.modules[MODULE]


def test_the_page_s_own_tests_pass(parking: ModuleType) -> None:
    names: dict[str, Any] = {}
    exec(compile(TEST, "docs/contracts.md", "exec"), names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        test()
    assert parking.__doc__


def test_the_example_is_short_and_says_everything_of_itself(parking: ModuleType) -> None:
    assert sum(bool(line) for line in CONTRACT.splitlines()) < 60
    contract: type[Contract] = parking.Parking
    abi = document("parking", contract.spec)
    assert [(method["name"], method["kind"]) for method in abi["methods"]] == [
        ("enter", "write"),
        ("leave", "write"),
        ("hour", "scheduled"),
        ("get", "read"),
    ]
    assert all(item["doc"] for item in (abi, *abi["methods"], *abi["events"], *abi["errors"]))
    assert [error["code"] for error in abi["errors"]] == ["TOO_LITTLE", "NOT_PARKED"]
    codes = {code for method in abi["methods"] for code in re.findall(r"\b[A-Z]+_[A-Z]+\b", method["doc"])}
    assert codes == {error["code"] for error in abi["errors"]}


def test_an_hour_uses_no_more_gas_than_the_page_says(parking: ModuleType) -> None:
    chain = Chain({"parking": parking.Parking})
    driver, lot = chain.account("driver", motes=10**6), chain.account("lot")
    chain.send(driver, parking.Parking.enter, lot.address, 300)
    chain.advance(3_600_000)
    [receipt] = chain.block().receipts
    assert receipt.gas_used < 100_000
    assert "An hour of parking uses less than 100,000." in PAGE


def test_the_weights_and_bounds_are_those_of_the_runtime() -> None:
    weights = re.findall(r"^\| `([A-Z_]+)` \| ([0-9,]+) \|", PAGE, re.MULTILINE)
    assert {name: int(value.replace(",", "")) for name, value in weights} == {
        name: value for name, value in vars(gas).items() if name in dict(weights) and isinstance(value, int)
    }
    assert len(weights) == 12
    assert f"Calls nest {context.MAX_DEPTH} deep" in PAGE
    assert f"the hashes of the last {context.RECENT_BLOCKS} blocks" in PAGE
    assert gas.SCHEDULE_SHARE == 2


def test_every_type_on_the_page_is_one_that_authors_can_import() -> None:
    section = PAGE.partition("## Types")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in section.replace(r"\|", "/").splitlines() if row.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([A-Z]\w+)`", row)} - {"StrEnum"}
    assert len(named) > 8
    exported = set(sys.modules[Contract.__module__].__all__)
    assert named <= exported


def test_every_file_that_the_page_names_is_there() -> None:
    root = Path(__file__).parents[2]
    named = set(re.findall(r"\b((?:vm|tests|ledger|docs)/[\w/]+\.py)\b", PAGE)) - {"vm/contracts/parking.py"}
    assert {"vm/registry.py", "vm/calendar.py"} <= named
    assert [name for name in sorted(named) if "NAME" not in name and not (root / name).exists()] == []
