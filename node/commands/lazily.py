"""Modules that are imported when something of them is used first: a command's help does not wait for what it does not need.

if TYPE_CHECKING:
    from node.commands import rotation
else:
    rotation = Lazily("node.commands.rotation")
"""

import importlib
from typing import Any


class Lazily:
    """Stands for a module."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        """Import the module, where it is not yet, and return what is asked for."""
        return getattr(importlib.import_module(self._name), name)
