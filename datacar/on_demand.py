"""The chain's contracts and the JSON forms of their values, imported when they are used first.

All contracts together take longer to import than a command's help may take, and a program that reads blocks needs none of them.
Annotations name `Registry` as text, behind `TYPE_CHECKING`.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from vm.abi_json import args_from_json, call_to_json, receipt_to_json, untyped_to_json, value_from_json
    from vm.contracts.asset import Asset
    from vm.contracts.asset_types import AssetError
    from vm.registry import Registry, default_registry

__all__ = [
    "Asset",
    "AssetError",
    "Registry",
    "args_from_json",
    "call_to_json",
    "default_registry",
    "receipt_to_json",
    "untyped_to_json",
    "value_from_json",
]

_MODULES: Final = {
    "Asset": "vm.contracts.asset",
    "AssetError": "vm.contracts.asset_types",
    "Registry": "vm.registry",
    "args_from_json": "vm.abi_json",
    "call_to_json": "vm.abi_json",
    "default_registry": "vm.registry",
    "receipt_to_json": "vm.abi_json",
    "untyped_to_json": "vm.abi_json",
    "value_from_json": "vm.abi_json",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, once."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
    return found
