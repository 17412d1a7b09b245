"""From a method's parameters to command line options, and from what was typed to the call's canonical arguments.

`amount: Motes` is `--amount 1.5`; a struct is `--terms FILE.json`, JSON, or a flag for each part (`--terms.principal 5000`);
a list's option may be given again for each item.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from datacar.human import MAX_JSON_CHARS, Lookup, assemble, left_out, load_json, read_json, read_text, words_of
from datacar.shapes import NAMING, Shape
from datacar.units import BadValueError, Unit, money
from ledger.codec import Value
from ledger.errors import TooLargeError
from vm.abi_types import Kind
from vm.amount_assets import HOLD, SYMBOL

_COMPOSED: Final = (Kind.LIST, Kind.TUPLE, Kind.STRUCT)
_METAVARS: Final = {  # short: they leave a terminal's width to the options' names
    Kind.BOOL: "yes|no",
    Kind.ADDRESS: "ACCOUNT",
    Kind.BYTES: "HEX|@FILE",
    Kind.ENUM: "WORD",
    Kind.TEXT: "TEXT",
    Kind.LIST: "JSON|FILE",
    Kind.TUPLE: "A,B|JSON",
    Kind.STRUCT: "JSON|FILE",
}
MAX_BYTES_FILE: Final = 64 * 1024
PANEL: Final = "What is called"
LONGEST_SHOWN: Final = 26
"""A longer option is cut in the help of a terminal with 80 columns: its text begins with the last part of the name."""
_OWN_UNIT: Final = re.compile(
    r"^motes\b|^in 1/10 basis point \(12 % is 12,000\)|^parts in 10,000|^1/10,000 (?:DATR|percent|kWh?)\b"
    r"|, in (?:1/10,000|smallest units|days since 1970-01-01)|(?:^|, )Unix (?:milli)?seconds| in motes$"
    r"|^minutes (?:after local midnight|of the day)|^seconds(?= since)"
)
_POLICY_PARTS: Final = ("threshold", "keys")
_SOME_ASSET: Final = money("AMOUNT", 0)

Given = Mapping[str, Any]
"""What was typed, by the Python name of the option: text, a list of texts, or None."""


@dataclass(frozen=True, slots=True)
class Flag:
    """An option for a parameter or for a part of one. `variable` is its name in Python, `parts` the flags of a struct's parts."""

    option: str
    variable: str
    shape: Shape
    parts: tuple["Flag", ...]

    @property
    def repeats(self) -> bool:
        """Return whether it may be given again."""
        return self.shape.kind is Kind.LIST

    @property
    def names_unit(self) -> bool:
        """Return whether it says what the numbers beside it are counted in."""
        return self.shape.name in NAMING

    def reshaped(self, shape: Shape) -> "Flag":
        """Return it for a shape that differs in its units only."""
        parts = tuple(flag.reshaped(part) for flag, part in zip(self.parts, shape.parts, strict=True)) if self.parts else ()
        return replace(self, shape=shape, parts=parts)

    def parameters(self, *, required: bool) -> list[Parameter]:
        """Return the Python parameters that Typer makes options of: its own, and those of its parts."""
        needed = required and not self.shape.may_be_left_out
        text = _help(self.shape, needed=needed)
        option = typer.Option(
            f"--{self.option}",
            metavar=_metavar(self.shape),
            help=f"{self.option.rpartition('.')[2]}: {text}" if len(self.option) > LONGEST_SHOWN else text,
            show_default=_shown_default(self.shape),
            autocompletion=_words(self.shape),
            rich_help_panel=PANEL,
        )
        must = needed and self.shape.kind not in _COMPOSED
        kind: Any = list[str] | None if self.repeats else str if must else str | None
        default = Parameter.empty if must else None
        own = Parameter(self.variable, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])
        return [own, *(parameter for part in self.parts for parameter in part.parameters(required=False))]

    def collect(self, given: Given, lookup: Lookup) -> tuple[bool, Value]:
        """Return whether it or a part of it was given, and its value. Raises a usage error that names the option."""
        whole = given[self.variable]
        if whole not in (None, []):
            if other := next((part.option for part in self.parts if part.collect(given, lookup)[0]), None):
                raise typer.BadParameter(f"--{self.option} says it all: leave out --{other}", param_hint=f"--{self.option}")
            return True, self._explained(lambda: self._read(whole, lookup))
        found = {part.shape.name: part.collect(given, lookup) for part in self.parts}
        values = {name: value for name, (was_given, value) in found.items() if was_given}
        if not values:
            return False, None
        return True, self._explained(lambda: assemble(self.shape, values))

    def value(self, given: Given, lookup: Lookup) -> Value:
        """Return its value, what it is when left out included. Raises a usage error."""
        was_given, value = self.collect(given, lookup)
        if not was_given and not self.shape.may_be_left_out:
            raise typer.BadParameter("must be given", param_hint=f"--{self.option}")
        return value if was_given else left_out(self.shape)

    def _read(self, typed: Any, lookup: Lookup) -> Value:
        if self.repeats:
            return _read_list(self.shape, typed, lookup)
        return read_text(self.shape, _contents(self.shape, typed), lookup)

    def _explained(self, read: Callable[[], Value]) -> Value:
        try:
            return read()
        except BadValueError as error:
            hint = f" ({error.hint})" if error.hint else ""
            raise typer.BadParameter(f"{error.message}{hint}", param_hint=f"--{self.option}") from error


def flags_of(params: Sequence[Shape], reserved: frozenset[str]) -> list[Flag]:
    """Return the options of a method's parameters; one called like a `reserved` option is `--arg-NAME`.

    Beside an asset's symbol or a hold's id the help leaves open which asset amounts are of.
    """
    made = []
    shown = [shape.in_money(_SOME_ASSET) for shape in params] if any(shape.name in (SYMBOL, HOLD) for shape in params) else params
    for number, shape in enumerate(shown):
        name = shape.name.replace("_", "-")
        made.append(_flag(f"arg-{name}" if name in reserved else name, f"arg{number}", shape))
    return made


def _flag(option: str, variable: str, shape: Shape) -> Flag:
    parts = shape.parts if shape.kind is Kind.STRUCT and not shape.is_call else ()
    return Flag(
        option,
        variable,
        shape,
        tuple(_flag(f"{option}.{part.name.replace('_', '-')}", f"{variable}_{at}", part) for at, part in enumerate(parts)),
    )


def _read_list(shape: Shape, texts: Sequence[str], lookup: Lookup) -> Value:
    """Return a list: of one JSON array or file, else of one item for each time that the option was given."""
    if len(texts) == 1 and (texts[0].lstrip().startswith("[") or _names_file(texts[0])):
        return read_json(shape, load_json(_contents(shape, texts[0])), lookup)
    item = shape.parts[0]
    items = [load_json(_contents(item, text)) if _names_file(text) else text for text in texts]
    return read_json(shape, items, lookup)


def _names_file(text: str) -> bool:
    return text.startswith("@") or text.endswith(".json")


def _contents(shape: Shape, text: str) -> str:
    """Return what a file holds where one is named, as text: of bytes in hex. Raises `OSError`, `TooLargeError`."""
    if shape.kind is Kind.BYTES and text.startswith("@"):
        with Path(text[1:]).open("rb") as file:
            data = file.read(MAX_BYTES_FILE + 1)
        if len(data) > MAX_BYTES_FILE:
            raise TooLargeError("file", limit=MAX_BYTES_FILE, got=len(data), hint="a transaction has no room for it")
        return "0x" + data.hex()
    if shape.kind not in _COMPOSED or not _names_file(text):
        return text
    with Path(text.removeprefix("@")).open(encoding="utf-8") as file:
        found = file.read(MAX_JSON_CHARS + 1)
    return _policy_of(found) if tuple(part.name for part in shape.parts) == _POLICY_PARTS else found


def _policy_of(text: str) -> str:
    """Return the keys and threshold of an account's file (`wallet multisig new`) as JSON; any other text as it is."""
    from datacar.multisig import BadFileError, Multisig  # here, since help needs none of it

    try:
        policy = Multisig.from_text(text).policy
    except BadFileError:
        return text
    return json.dumps({"threshold": policy.threshold, "keys": ["0x" + key.hex() for key in policy.keys]})


def _metavar(shape: Shape) -> str:
    if shape.unit is not None:
        return shape.unit.metavar
    if shape.kind is Kind.LIST and shape.parts[0].kind not in _COMPOSED:
        return _metavar(shape.parts[0])
    return _METAVARS.get(shape.kind, shape.kind.value.upper())


def _help(shape: Shape, *, needed: bool) -> str:
    """Return the help of an option: its doc, how many times, and whether it must be given where Typer cannot know."""
    doc = _plain_doc(shape.doc)
    said = doc[:1].upper() + doc[1:]
    item = shape.parts[0] if shape.kind is Kind.LIST else shape
    written = _written(item.unit) if item.unit is not None and item.unit.example else ""
    words = f"One of {', '.join(words_of(item))}." if item.kind is Kind.ENUM else ""
    again = "May be given again." if shape.kind is Kind.LIST else ""
    whole = "All of it, a file NAME.json or JSON; or its parts, below." if shape.kind is Kind.STRUCT and not shape.is_call else ""
    must = "Required." if needed and shape.kind in _COMPOSED else ""
    sentences = (text if text.endswith(".") else f"{text}." for text in (said, written, words, again, whole, must) if text)
    return " ".join(sentences).replace("[", r"\[")


def _plain_doc(doc: str) -> str:
    """Return what is said of a value without the contract's own unit: people write it in another, which is said after it."""
    return _OWN_UNIT.sub("", doc).strip(" ,;")


def _written(unit: Unit) -> str:
    """Return how a number is written; plainly where the contract's own unit, which its doc may name, is another."""
    return f"Written here in {unit.metavar}, such as {unit.example}." if unit.scaled else f"Written {unit.example}."


def _shown_default(shape: Shape) -> str | bool:
    """Return the default as people read it; none is shown for what is simply left out."""
    if shape.default is None or shape.default.value in (None, (), ""):
        return False
    value = shape.default.value
    return shape.unit.show(value) if shape.unit is not None and isinstance(value, int) else str(value)


def _words(shape: Shape) -> Any:
    if shape.kind is not Kind.ENUM:
        return None
    return lambda incomplete: [word for word in words_of(shape) if word.startswith(incomplete)]
