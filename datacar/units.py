"""What the integers of a contract mean to people: `7.2 kWh`, `12.5 %`, `2024-02-29`, `+7d`. Text in, exact integers out.

Which unit a number has follows from its name, as the contracts write it (`_wh`, `_ms`, `_e4`, ...), its bounds and its doc.
Exact or refused: no floats, no rounding. A bare number is in the unit that the help shows; `show` gives text that `read` takes.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

from ledger.errors import InvalidInputError
from vm.abi_types import Kind, TypeSpec
from vm.calendar import DAY_MS, MINUTE_MS, BadDateError, Day, date_of, day_text, parse_day

Now: TypeAlias = Callable[[], int]
"""Returns the present time in Unix milliseconds; asked only for times like `+7d`."""

HOUR_MS: Final = 60 * MINUTE_MS
SECOND_MS: Final = 1_000

_U32_MAX: Final = 2**32 - 1
_LEAST_MOMENT_MS: Final = 10**11
"""A bare number below it, but for 0, was meant as something else: a date like 20270201, or seconds where milliseconds belong."""
_MAX_YEAR: Final = 9_999
_MAX_TEXT_CHARS: Final = 64
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,19})", re.ASCII)
_QUANTITY: Final = re.compile(
    r"(-?)(0|[1-9][0-9]{0,19})(?:\.([0-9]{1,19}))?"
    r"(?: ?([A-Za-z%]+)| ([A-Za-z][A-Za-z0-9]*))?",  # a word with digits stands apart: 1e3 is not one E3
    re.ASCII,
)
_COUNTED: Final = re.compile(r"(-?(?:0|[1-9][0-9]{0,19})) units(?: \(of a base: motes\))?", re.ASCII)
_PART: Final = re.compile(r"(0|[1-9][0-9]{0,19})(?:\.([0-9]{1,19}))? ?([a-z]+) ?", re.ASCII)
_CLOCK: Final = re.compile(r"([01][0-9]|2[0-4]):([0-5][0-9])", re.ASCII)
_OFFSET: Final = re.compile(r"([+-])([01][0-9]):([0-5][0-9])", re.ASCII)
_MOMENT: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ]([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9])(?:\.([0-9]{1,3}))?)?)?"
    r" ?(Z|UTC|[+-][01][0-9]:[0-5][0-9])?",
    re.ASCII,
)


class BadValueError(InvalidInputError):
    """Text that is no value of what was asked for: `bad_value`, saying what was wrong; the hint has the unit."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__("bad_value", message, hint=hint)


@contextmanager
def within(part: str) -> Iterator[None]:
    """Say in errors in which part of a value, or in which argument, they are."""
    try:
        yield
    except BadValueError as error:
        raise BadValueError(f"{part}: {error.message}", error.hint) from error


@dataclass(frozen=True, slots=True)
class Unit:
    """How people write a number: `read` takes text (and the time, for what is relative to it), `show` gives it back.

    `metavar` is its name in a command's help, `example` a text of it (empty for plain numbers), `hint` says how it is written.
    A `scaled` one has another number in the contract: 12 % is 12,000 there. `check_bare` refuses a contract's own number that
    must be a mistake.
    """

    metavar: str
    example: str
    hint: str
    read: Callable[[str, Now], int]
    show: Callable[[int], str]
    scaled: bool = False
    check_bare: Callable[[int], None] = lambda _value: None


def read_number(unit: Unit, text: str, low: int, high: int, now: Now) -> int:
    """Return the integer of a text, within `low`..`high`. Raises `BadValueError`."""
    shown = repr(text[:_MAX_TEXT_CHARS])
    try:
        value = unit.read(text.strip(), now) if len(text) <= _MAX_TEXT_CHARS else None
    except BadDateError as error:
        raise BadValueError(error.message, unit.hint) from error
    if value is None:
        raise BadValueError(f"{shown} is too long for a value", unit.hint)
    if not low <= value <= high:
        raise BadValueError(f"{shown} is not within {unit.show(low)} to {unit.show(high)}", unit.hint)
    return value


def _refuse(text: str, what: str, hint: str) -> BadValueError:
    return BadValueError(f"{text!r} is not {what}", hint)


def _scaled(whole: str, fraction: str | None, factor: int) -> int | None:
    """Return a decimal number times `factor`, or None where that is no whole number."""
    digits = fraction or ""
    value, rest = divmod(int(whole + digits) * factor, 10 ** len(digits))
    return None if rest else value


def decimal(value: int, places: int) -> str:
    """Return `value` / 10^`places` as a plain decimal without needless zeros."""
    whole, rest = divmod(abs(value), 10**places)
    sign = "-" if value < 0 else ""
    return f"{sign}{whole}.{rest:0{places}}".rstrip("0").rstrip(".") if places else f"{sign}{whole}"


def _quantity(
    what: str, metavar: str, example: str, hint: str, words: Mapping[str, int], finest: str, show: Callable[[int], str]
) -> Unit:
    """Return a unit of numbers with a word behind; `words` (lower case, but for a mega's M) are how many of the `finest` each
    stands for, "" for a bare number. Capitals may be written as one likes, but no m for mega: that is a thousandth.
    """

    def read(text: str, _now: Now) -> int:
        match = _QUANTITY.fullmatch(text)
        word = "" if match is None else match[4] or match[5] or ""
        factor = words.get(word[:1] + word[1:].lower(), words.get(word.lower()))
        if match is None or factor is None:
            raise _refuse(text, what, hint)
        value = _scaled(match[2], match[3], factor)
        if value is None:
            raise _refuse(text, f"a whole number of {finest}", hint)
        return -value if match[1] else value

    return Unit(metavar, example, hint, read, show, scaled=words[""] > 1)


def money(symbol: str, decimals: int, finest: str = "units") -> Unit:
    """Return the unit of an asset's amounts: with 8 decimals 150000000 is `1.5`. `finest` names the smallest part."""
    one = 10**decimals
    hint = f'write {symbol} as a plain decimal such as "1.5", with at most {decimals} decimals, or a whole number of {finest}'
    words = {"": one, finest: 1, symbol.lower(): one}  # an asset may be called UNITS
    show = lambda value: f"{decimal(value, decimals)} {symbol}"  # noqa: E731
    return _quantity(f"an amount of {symbol}", symbol, "1.5", hint, words, finest, show)


def _fixed(what: str, word: str, places: int) -> Unit:
    """Return the unit of numbers counted in 1 / 10^`places`."""
    tail = f" {word}" if word else ""
    example = f"12.5{tail}"
    hint = f'write a plain decimal such as "{example}", with at most {places} decimals'
    words = {"": 10**places, word.lower(): 10**places}
    finest = f"1/{10**places:,}{tail}"
    return _quantity(what, word or "DECIMAL", example, hint, words, finest, lambda value: f"{decimal(value, places)}{tail}")


def _metric(what: str, word: str) -> Unit:
    """Return the unit of numbers counted in W or Wh."""
    words = {"": 1, word.lower(): 1, f"k{word}".lower(): 10**3, f"M{word.lower()}": 10**6}
    hint = f'write {word} or k{word}, such as "7.2 k{word}" (M{word} has a capital M); a bare number is {word}'

    def show(value: int) -> str:
        return f"{decimal(value, 3)} k{word}" if abs(value) >= 10**3 else f"{value} {word}"

    return _quantity(what, word, f"7.2 k{word}", hint, words, word, show)


# ---- time

_DURATION_WORDS: Final = {
    **dict.fromkeys(("d", "day", "days"), DAY_MS),
    **dict.fromkeys(("h", "hour", "hours"), HOUR_MS),
    **dict.fromkeys(("min", "minute", "minutes"), MINUTE_MS),
    **dict.fromkeys(("s", "sec", "second", "seconds"), SECOND_MS),
    "ms": 1,
}
_SHOWN_PARTS: Final = (("d", DAY_MS), ("h", HOUR_MS), ("min", MINUTE_MS), ("s", SECOND_MS), ("ms", 1))


def _duration(base_ms: int, word: str, metavar: str = "TIME", example: str = "1h 30min") -> Unit:
    """Return the unit of lengths of time counted in `base_ms`, which people call `word`."""
    hint = f'write a time such as "90 min" or "{example}"; a bare number is in {word}'

    def read(text: str, _now: Now) -> int:
        if _INTEGER.fullmatch(text):
            return int(text)
        value, rest = divmod(_duration_ms(text.removeprefix("-"), hint), base_ms)
        if rest:
            raise _refuse(text, f"a whole number of {word}", hint)
        return -value if text.startswith("-") else value

    def show(value: int) -> str:
        left = abs(value) * base_ms
        parts: list[str] = []
        for name, part_ms in _SHOWN_PARTS:
            count, left = divmod(left, part_ms)
            if count or (part_ms == base_ms and not parts):
                parts.append(f"{count} {name}")
        return ("-" if value < 0 else "") + " ".join(parts)

    return Unit(metavar, example, hint, read, show)


def _duration_ms(text: str, hint: str) -> int:
    """Return the milliseconds of `1h 30min`; every number has its word."""
    total, at = 0, 0
    while at < len(text):
        match = _PART.match(text, at)
        factor = None if match is None else _DURATION_WORDS.get(match[3])
        if match is None or factor is None:
            raise _refuse(text, "a length of time", hint)
        value = _scaled(match[1], match[2], factor)
        if value is None:
            raise _refuse(text, "a whole number of milliseconds", hint)
        total, at = total + value, match.end()
    if not text:
        raise _refuse(text, "a length of time", hint)
    return total


def _moment(base_ms: int, relative: str) -> Unit:
    """Return the unit of Unix times counted in `base_ms`; `relative` is an example of one that is said from now."""
    word = "milliseconds" if base_ms == 1 else "seconds"
    hint = f'write UTC such as "2027-01-31 12:00", "2027-01-31T12:00:00+01:00" or "{relative}"; a bare number is Unix {word}'
    least = _LEAST_MOMENT_MS // base_ms

    def refuse_early(value: int) -> None:
        if 0 < value < least:
            raise BadValueError(f"{value} is no time in {word}: under {least}, before March 1973", hint)

    def read(text: str, now: Now) -> int:
        if _INTEGER.fullmatch(text):
            refuse_early(int(text))
            return int(text)
        if text == "now" or text[:1] in ("+", "-"):
            ahead_ms = 0 if text == "now" else _duration_ms(text[1:], hint)
            return (now() - ahead_ms if text.startswith("-") else now() + ahead_ms) // base_ms
        value, rest = divmod(_moment_ms(text, hint), base_ms)
        if rest:
            raise _refuse(text, f"a whole number of {word}", hint)
        return value

    def show(value: int) -> str:
        day, rest_ms = divmod(value * base_ms, DAY_MS)
        if not 0 <= date_of(Day(day)).year <= _MAX_YEAR:
            return str(value)
        minutes, ms = divmod(rest_ms, MINUTE_MS)
        fraction = f".{ms % SECOND_MS:03}" if ms % SECOND_MS else ""
        return f"{day_text(Day(day))}T{minutes // 60:02}:{minutes % 60:02}:{ms // SECOND_MS:02}{fraction}Z"

    return Unit("WHEN", f"2027-01-31 12:00 or {relative}", hint, read, show, check_bare=refuse_early)


def _moment_ms(text: str, hint: str) -> int:
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise _refuse(text, "a date and time", hint)
    date, hours, minutes, seconds, fraction, zone = match.groups()
    time_ms = int(hours or 0) * HOUR_MS + int(minutes or 0) * MINUTE_MS + int(seconds or 0) * SECOND_MS
    offset_minutes = 0 if zone in (None, "Z", "UTC") else _offset_minutes(zone)
    return parse_day(date) * DAY_MS + time_ms + int((fraction or "").ljust(3, "0")) - offset_minutes * MINUTE_MS


def _offset_minutes(zone: str) -> int:
    minutes = int(zone[1:3]) * 60 + int(zone[4:])
    return -minutes if zone.startswith("-") else minutes


def _read_offset(text: str, _now: Now) -> int:
    if _INTEGER.fullmatch(text):
        return int(text)
    if text in ("Z", "UTC"):
        return 0
    if not _OFFSET.fullmatch(text):
        raise _refuse(text, "an offset of local time", _OFFSET_HINT)
    return _offset_minutes(text)


def _show_offset(value: int) -> str:
    hours, minutes = divmod(abs(value), 60)
    text = f"{'-' if value < 0 else '+'}{hours:02}:{minutes:02}"
    return text if _OFFSET.fullmatch(text) else str(value)


def _read_clock(text: str, _now: Now) -> int:
    if _INTEGER.fullmatch(text):
        return int(text)
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise _refuse(text, "a time of the day", _CLOCK_HINT)
    return int(match[1]) * 60 + int(match[2])


def _show_clock(value: int) -> str:
    text = f"{value // 60:02}:{value % 60:02}"
    return text if _CLOCK.fullmatch(text) else str(value)


def _read_date(text: str, _now: Now) -> int:
    return int(text) if _INTEGER.fullmatch(text) else parse_day(text)


def _show_date(value: int) -> str:
    """Return a date; 0 stands for none wherever a contract has it."""
    return day_text(Day(value)) if value and 0 <= date_of(Day(value)).year <= _MAX_YEAR else str(value)


def _read_integer(text: str, _now: Now) -> int:
    if not _INTEGER.fullmatch(text):
        raise _refuse(text, "a whole number", _NUMBER_HINT)
    return int(text)


def _read_count(text: str, _now: Now) -> int:
    if not _INTEGER.fullmatch(text):
        raise _refuse(text, "a number of units", _COUNT_HINT)
    return int(text)


def _read_base(text: str, now: Now) -> int:
    if match := _COUNTED.fullmatch(text):
        return int(match[1])
    if not text.lower().endswith(("datr", "motes")):
        raise _refuse(text, "a number of units, nor money", _BASE_HINT)
    return DATR.read(text, now)


_OFFSET_HINT: Final = 'write local time minus UTC such as "+01:00", or minutes'
_CLOCK_HINT: Final = 'write a time of the day such as "07:30", or minutes after midnight'
_NUMBER_HINT: Final = "write a whole number in digits"
_BASE_HINT: Final = 'write how many, such as "120 units", or a base such as "1000 DATR"'
_COUNT_HINT: Final = "write how many units in digits: the order is not for a percentage"

NUMBER: Final = Unit("N", "", _NUMBER_HINT, _read_integer, str)
DATR_SYMBOL: Final = "DATR"
DATR: Final = money(DATR_SYMBOL, 8, "motes")
COUNT: Final = Unit("N", "", _COUNT_HINT, _read_count, str)
BASE: Final = Unit(
    "N|DATR", "120, or 1000 for a base of 1000 DATR", _BASE_HINT, _read_base, lambda value: f"{value} units (of a base: motes)"
)
"""Of what is reported to an order, while it is not known whether that is for units or for a percentage."""
ENERGY: Final = _metric("an energy", "Wh")
POWER: Final = _metric("a power", "W")
RATE: Final = _fixed("an annual rate in percent", "%", 3)
SHARE: Final = _fixed("a share in percent", "%", 2)
MOMENT_MS: Final = _moment(1, "+7d")
MOMENT_S: Final = _moment(SECOND_MS, "now")  # what stations report has happened
MILLISECONDS: Final = _duration(1, "milliseconds")
SECONDS: Final = _duration(SECOND_MS, "seconds")
MINUTES: Final = _duration(MINUTE_MS, "minutes")
HOURS: Final = _duration(HOUR_MS, "hours")
DAYS: Final = _duration(DAY_MS, "days", "DAYS", "30")
DURATIONS: Final = (MILLISECONDS, SECONDS, MINUTES, HOURS, DAYS)
DATE: Final = Unit("DATE", "2024-02-29", 'write a date such as "2024-02-29"', _read_date, _show_date)
CLOCK: Final = Unit("HH:MM", "07:30", _CLOCK_HINT, _read_clock, _show_clock)
OFFSET: Final = Unit("+HH:MM", "+01:00", _OFFSET_HINT, _read_offset, _show_offset)

# ---- which number has which unit: the first line whose name and bounds fit

_LENGTHS: Final = r"(^|_)(age|cap|delay|drift|duration|grace|heartbeat|interval|notice|pause|period|timeout|window)"
_RULES: Final[tuple[tuple[re.Pattern[str], Callable[[TypeSpec], bool], Unit], ...]] = tuple(
    (re.compile(pattern), fits, unit)
    for pattern, fits, unit in (
        (r"(price|vat)_e4$", lambda _: True, _fixed("a price", "DATR", 4)),
        (r"percent_e4$", lambda _: True, _fixed("a percentage", "%", 4)),
        (r"kwh_e4$", lambda _: True, _fixed("an energy", "kWh", 4)),
        (r"power_e4$", lambda _: True, _fixed("a power", "kW", 4)),
        (r"(rate|share)_e4$", lambda _: True, SHARE),
        (r"_e4$", lambda _: True, _fixed("a number", "", 4)),
        (r"(^|_)rate$", lambda _: True, RATE),
        (r"(^|_)share$", lambda _: True, SHARE),
        (r"(^|_)wh$", lambda _: True, ENERGY),
        (r"(^|_)w$", lambda _: True, POWER),
        (_LENGTHS + r".*_ms$", lambda _: True, MILLISECONDS),
        (r"_ms$", lambda _: True, MOMENT_MS),
        (_LENGTHS + r".*_s$", lambda _: True, SECONDS),
        (r"_s$", lambda spec: spec.high > _U32_MAX, MOMENT_S),
        (r"(_s|(^|_)seconds)$", lambda _: True, SECONDS),
        (r"offset_minutes$", lambda _: True, OFFSET),
        (r"(at_minute|_time_min)$", lambda _: True, CLOCK),
        (r"(^|_)minutes$", lambda _: True, MINUTES),
        (r"(^|_)hours$", lambda _: True, HOURS),
        (r"(^|_)days$", lambda _: True, DAYS),
        (r"(_on|_since|(^|_)day|(^|_)date)$", lambda spec: spec.high >= _U32_MAX, DATE),
    )
)
_BY_DOC: Final = (
    ("1/10 basis point", RATE),
    ("1/10,000", SHARE),
    ("smallest share", SHARE),
    ("per 10,000", SHARE),
    ("the base in motes", BASE),
)


def unit_of(name: str, spec: TypeSpec, doc: str = "") -> Unit | None:
    """Return the unit of a number by its name, its bounds and what is said of it; None for what is no number."""
    if spec.kind is Kind.MOTES:
        return DATR
    if spec.kind is not Kind.INT:
        return None
    by_name = next((unit for pattern, fits, unit in _RULES if pattern.search(name) and fits(spec)), None)
    return by_name or next((unit for words, unit in _BY_DOC if words in doc), NUMBER)
