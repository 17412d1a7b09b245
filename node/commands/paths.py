"""Where things are by default: the XDG base directories (freedesktop.org, XDG Base Directory Specification 0.8)."""

import os
from pathlib import Path


def config_home() -> Path:
    """Return the folder of configuration: `$XDG_CONFIG_HOME/datacar`, else `~/.config/datacar`."""
    return _base("XDG_CONFIG_HOME", ".config")


def state_home() -> Path:
    """Return the folder of what should survive restarts: `$XDG_STATE_HOME/datacar`, else `~/.local/state/datacar`."""
    return _base("XDG_STATE_HOME", ".local/state")


def _base(variable: str, fallback: str) -> Path:
    """The specification ignores relative paths in these variables."""
    given = Path(os.environ.get(variable, ""))
    return (given if given.is_absolute() else Path.home() / fallback) / "datacar"
