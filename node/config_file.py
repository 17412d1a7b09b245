"""Changing one key of a configuration file, keeping its comments and order."""

import re
import tomllib
from pathlib import Path
from typing import Final

from node.config import ConfigError, load_config, read_text
from node.node_folder import toml_value

_SECTION: Final = re.compile(r"\s*\[\s*([A-Za-z0-9_-]+)\s*\]\s*(?:#.*)?")
_KEY: Final = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=")
_INTEGER: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


def set_in_file(path: Path, section: str, key: str, value: str) -> None:
    """Set `section.key` in the TOML file `path`. Raises `ConfigError`, leaving the file as it was, unless the result is valid."""
    path = path.expanduser().absolute()
    line = f"{key} = {toml_value(int(value) if _INTEGER.fullmatch(value) else value)}"
    text = "\n".join(_with_line(read_text(path).splitlines(), section, key, line)) + "\n"
    load_config(path, text=text)
    if key not in tomllib.loads(text).get(section, {}):
        raise ConfigError(f"{section}.{key}: this file's layout is beyond this command", hint="change it in an editor")
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.chmod(path.stat().st_mode)
    part.replace(path)


def _with_line(lines: list[str], section: str, key: str, line: str) -> list[str]:
    """Return the file's lines with the key's line replaced, or added at the end of its section."""
    inside, end = False, None
    for number, text in enumerate(lines):
        if match := _SECTION.fullmatch(text):
            inside = match[1] == section
        found = _KEY.match(text)
        if inside and found and found[1] == key:
            return [*lines[:number], line, *lines[number + 1 :]]
        if inside and text.strip():
            end = number + 1
    if end is None:
        return [*lines, "", f"[{section}]", line]
    return [*lines[:end], line, *lines[end:]]
