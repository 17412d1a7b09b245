"""Bech32m (BIP-350): the text form of addresses, `<hrp>1<payload><checksum>`.

Strict: one case, known characters, a correct checksum, zero padding of at most four bits. The checksum finds any four wrong
characters within BIP-173's limit of 90 characters; an address (33 bytes, prefix `datr`) takes 64 of them.
"""

from collections.abc import Iterable
from functools import reduce
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


def encode(hrp: str, payload: bytes) -> str:
    """Return the lower-case text of `payload` under the prefix `hrp` (1 or more lower-case ASCII characters).

    Raises `BadEncodingError` for a bad prefix or for more than 90 characters of text.
    """
    if not hrp or hrp != hrp.lower() or not _is_printable_ascii(hrp):
        raise _error(f"prefix {hrp!r} is not lower-case printable ASCII")
    symbols = _regroup(payload, 8, 5)
    length = len(hrp) + 1 + len(symbols) + CHECKSUM_SYMBOLS
    if length > MAX_CHARS:
        raise _error(f"text would have {length} characters, at most {MAX_CHARS} are allowed", limit=MAX_CHARS, got=length)
    return f"{hrp}1{''.join(_CHARSET[symbol] for symbol in symbols + _checksum(hrp, symbols))}"


def decode(text: str, hrp: str) -> bytes:
    """Return the payload of `text`, all lower or all upper case, whose prefix must be `hrp` (lower case).

    Raises `BadEncodingError` with what is wrong: length, character, case, prefix, checksum or padding.
    """
    return symbols_to_bytes(decode_symbols(text, hrp))


def decode_symbols(text: str, hrp: str) -> list[int]:
    """Return the checked 5-bit symbols of `text` without its checksum: BIP-350 proper, whatever the symbols hold."""
    data = _data_part(text, hrp)
    unknown = next((character for character in data if character not in _SYMBOL_OF), None)
    if unknown is not None:
        raise _error(f"character {unknown!r} is not used in bech32m")
    symbols = [_SYMBOL_OF[character] for character in data]
    if len(symbols) < CHECKSUM_SYMBOLS:
        raise _error(f"too short: {len(symbols)} characters after the prefix, the checksum alone has {CHECKSUM_SYMBOLS}")
    if _polymod(_expand(hrp) + symbols) != _FINAL_CONSTANT:
        raise _error("wrong checksum: a character is missing, mistyped or swapped")
    return symbols[:-CHECKSUM_SYMBOLS]


def symbols_to_bytes(symbols: list[int]) -> bytes:
    """Return the whole bytes in 5-bit `symbols`; raises `BadEncodingError` unless the rest is under 5 bits, all zero."""
    padding_bits = len(symbols) * 5 % 8
    if padding_bits >= 5 or (symbols and symbols[-1] & ((1 << padding_bits) - 1)):
        raise _error("wrong padding: the payload does not end on a whole byte and zero bits")
    return bytes(_regroup(symbols, 5, 8)[: len(symbols) * 5 // 8])


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
    return all("!" <= character <= "~" for character in text)


def _expand(hrp: str) -> list[int]:
    """Return the prefix as the symbols that the checksum covers."""
    codes = hrp.encode("ascii")
    return [code >> 5 for code in codes] + [0] + [code & 31 for code in codes]


def _polymod(symbols: Iterable[int]) -> int:
    """Return the BCH checksum state after `symbols`."""
    state = 1
    for symbol in symbols:
        state = (state & 0x1FFFFFF) << 5 ^ symbol ^ _FEEDBACK[state >> 25]
    return state


def _checksum(hrp: str, symbols: list[int]) -> list[int]:
    state = _polymod([*_expand(hrp), *symbols, *[0] * CHECKSUM_SYMBOLS]) ^ _FINAL_CONSTANT
    return [state >> shift & 31 for shift in range(25, -1, -5)]


def _regroup(items: Iterable[int], from_bits: int, to_bits: int) -> list[int]:
    """Return the bit string of `items` cut into groups of `to_bits`, the last one filled up with zeros."""
    groups: list[int] = []
    buffer = bits = 0
    for item in items:
        buffer = buffer << from_bits | item
        bits += from_bits
        while bits >= to_bits:
            bits -= to_bits
            groups.append(buffer >> bits)
            buffer &= (1 << bits) - 1
    if bits:
        groups.append(buffer << (to_bits - bits))
    return groups


def _error(problem: str, **details: object) -> BadEncodingError:
    return BadEncodingError(f"not valid bech32m: {problem}", hint="copy the whole address again from its source", **details)
