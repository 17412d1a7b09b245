"""Bech32m (BIP-350): the text form of addresses, `<hrp>1<payload><checksum>`.

Strict: one case, known characters, a correct checksum, zero padding of at most four bits. The checksum finds any four wrong
characters within BIP-173's limit of 90 characters; an address (33 bytes, prefix `datr`) takes 64 of them.
"""

from collections.abc import Sequence
from functools import lru_cache, reduce
from operator import xor
from typing import Final

from ledger.errors import BadEncodingError

MAX_CHARS: Final = 90
CHECKSUM_SYMBOLS: Final = 6

_CHARSET: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_SYMBOL_OF: Final = {character: symbol for symbol, character in enumerate(_CHARSET)}
_FINAL_CONSTANT: Final = 0x2BC830A3
_GENERATORS: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
# What the five bits shifted out of the 30-bit checksum fold back in: one look-up instead of five branches a symbol.
_FEEDBACK: Final = tuple(reduce(xor, (g for i, g in enumerate(_GENERATORS) if top >> i & 1), 0) for top in range(32))
# The same for two symbols at once, and their text: whoever reads a block sees thousands of addresses.
_FEEDBACK_OF_TWO: Final = tuple(
    (_FEEDBACK[top >> 5] & 0x1FFFFFF) << 5 ^ _FEEDBACK[_FEEDBACK[top >> 5] >> 25 ^ top & 31] for top in range(1_024)
)
_PAIRS: Final = tuple(first + second for first in _CHARSET for second in _CHARSET)


def encode(hrp: str, payload: bytes) -> str:
    """Return the lower-case text of `payload` under the prefix `hrp` (1 or more lower-case ASCII characters).

    Raises `BadEncodingError` for a bad prefix or for more than 90 characters of text.
    """
    if not hrp or hrp != hrp.lower() or not _is_printable_ascii(hrp):
        raise _error(f"prefix {hrp!r} is not lower-case printable ASCII")
    count = -(-len(payload) * 8 // 5)
    length = len(hrp) + 1 + count + CHECKSUM_SYMBOLS
    if length > MAX_CHARS:
        raise _error(f"text would have {length} characters, at most {MAX_CHARS} are allowed", limit=MAX_CHARS, got=length)
    bits = int.from_bytes(payload) << count * 5 - len(payload) * 8
    feedback, pairs = _FEEDBACK_OF_TWO, _PAIRS
    state, texts = _state_after(hrp), [hrp, "1"]
    if count % 2:
        first = bits >> (count - 1) * 5
        state = _step(state, first)
        texts.append(_CHARSET[first])
    for shift in range(count // 2 * 10 - 10, -1, -10):
        pair = bits >> shift & 1_023
        state = (state & 0xFFFFF) << 10 ^ pair ^ feedback[state >> 20]
        texts.append(pairs[pair])
    for _ in range(CHECKSUM_SYMBOLS // 2):
        state = (state & 0xFFFFF) << 10 ^ feedback[state >> 20]
    state ^= _FINAL_CONSTANT
    texts += (pairs[state >> 20], pairs[state >> 10 & 1_023], pairs[state & 1_023])
    return "".join(texts)


def decode(text: str, hrp: str) -> bytes:
    """Return the payload of `text`, all lower or all upper case, whose prefix must be `hrp` (lower case).

    Raises `BadEncodingError` with what is wrong: length, character, case, prefix, checksum or padding.
    """
    return symbols_to_bytes(decode_symbols(text, hrp))


def decode_symbols(text: str, hrp: str) -> list[int]:
    """Return the checked 5-bit symbols of `text` without its checksum: BIP-350 proper, whatever the symbols hold."""
    data = _data_part(text, hrp)
    try:
        symbols = [_SYMBOL_OF[character] for character in data]
    except KeyError as error:
        raise _error(f"character {error.args[0]!r} is not used in bech32m") from None
    if len(symbols) < CHECKSUM_SYMBOLS:
        raise _error(f"too short: {len(symbols)} characters after the prefix, the checksum alone has {CHECKSUM_SYMBOLS}")
    if _after(_state_after(hrp), symbols) != _FINAL_CONSTANT:
        raise _error("wrong checksum: a character is missing, mistyped or swapped")
    return symbols[:-CHECKSUM_SYMBOLS]


def symbols_to_bytes(symbols: list[int]) -> bytes:
    """Return the whole bytes in 5-bit `symbols`; raises `BadEncodingError` unless the rest is under 5 bits, all zero."""
    padding_bits = len(symbols) * 5 % 8
    if padding_bits >= 5 or (symbols and symbols[-1] & ((1 << padding_bits) - 1)):
        raise _error("wrong padding: the payload does not end on a whole byte and zero bits")
    bits = 0
    for symbol in symbols:
        bits = bits << 5 | symbol
    return (bits >> padding_bits).to_bytes(len(symbols) * 5 // 8)


def _data_part(text: str, hrp: str) -> str:
    """Return what follows the prefix and the separator, in lower case."""
    if len(text) > MAX_CHARS:
        raise _error(f"too long: {len(text)} characters, at most {MAX_CHARS} are allowed", limit=MAX_CHARS, got=len(text))
    if not _is_printable_ascii(text):
        raise _error("only printable ASCII characters without spaces are allowed")
    lower = text.lower()
    if text not in (lower, text.upper()):
        raise _error("mixes upper and lower case")
    prefix, separator, data = lower.rpartition("1")
    if not separator or not prefix:
        raise _error(f"has no prefix: it must start with {hrp + '1'!r}")
    if prefix != hrp:
        raise _error(f"prefix is {prefix!r}, expected {hrp!r}", expected=hrp, got=prefix)
    return data


def _is_printable_ascii(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _step(state: int, symbol: int) -> int:
    """Return the BCH checksum's state after one more symbol."""
    return (state & 0x1FFFFFF) << 5 ^ symbol ^ _FEEDBACK[state >> 25]


def _after(state: int, symbols: Sequence[int]) -> int:
    """Return the state after more symbols."""
    at = len(symbols) % 2
    if at:
        state = _step(state, symbols[0])
    for high, low in zip(symbols[at::2], symbols[at + 1 :: 2], strict=True):
        state = (state & 0xFFFFF) << 10 ^ high << 5 ^ low ^ _FEEDBACK_OF_TWO[state >> 20]
    return state


@lru_cache(maxsize=16)
def _state_after(hrp: str) -> int:
    """Return the state after a prefix."""
    codes = hrp.encode("ascii")
    return _after(1, [*(code >> 5 for code in codes), 0, *(code & 31 for code in codes)])


def _error(problem: str, **details: object) -> BadEncodingError:
    return BadEncodingError(f"not valid bech32m: {problem}", hint="copy the whole address again from its source", **details)
