"""Contracts compute the same on every member, whatever its Python, its machine's language and its time zone."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from tests.seeds import fresh
from vm.abi import MethodKind
from vm.registry import default_registry

CALLS: Final = int(os.environ.get("DETERMINISM_CALLS", "1000"))
HASH_SEEDS: Final = int(os.environ.get("DETERMINISM_SEEDS", "8"))
LOCALES: Final = ("C", "C.UTF-8", "de_DE.UTF-8", "tr_TR.UTF-8", "ar_SA.UTF-8")  # those not installed leave it at C
ZONES: Final = ("UTC0", "EAST-14", "WEST+12", "CET-1CEST,M3.5.0,M10.5.0/3")


def _run(hash_seed: int, seed: int) -> dict[str, Any]:
    environment = os.environ | {
        "PYTHONHASHSEED": str(hash_seed),
        "LC_ALL": LOCALES[hash_seed % len(LOCALES)],
        "TZ": ZONES[hash_seed % len(ZONES)],
    }
    command = [sys.executable, "-m", "tests.determinism", "--seed", str(seed), "--calls", str(CALLS)]
    found = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=600)
    answer: dict[str, Any] = json.loads(found.stdout)
    return answer


def test_random_calls_give_the_same_roots_and_gas_everywhere() -> None:
    """Each run also replays its blocks from their bytes and compares all roots."""
    seed = fresh("determinism")
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda hash_seed: _run(hash_seed, seed), range(HASH_SEEDS)))
    assert len({item.pop("zone") for item in outcomes}) == len(ZONES)
    for item in outcomes:
        del item["locale"]  # which of them there are depends on the machine
    assert all(item == outcomes[0] for item in outcomes)
    writing = {name for name in default_registry().names() if _writes(name)}
    assert {name.partition(".")[0] for name in outcomes[0]["successes"]} == writing


def _writes(name: str) -> bool:
    return any(method.kind is MethodKind.WRITE for method in default_registry().entry(name).spec.methods.values())
