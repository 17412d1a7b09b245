"""The one canonical encoding: a strict subset of msgpack (msgpack specification, formats nil, bool, int, bin, str, array).

Arrays instead of maps, minimal integers, no floats, no extension types, bounded depth and length. A decoder re-encodes what
it read and compares: bytes that are not exact are refused, so each value has one encoding and each hash one pre-image.
"""

from collections.abc import Callable
from typing import Final, TypeAlias, Union

import msgpack

from ledger.errors import BadEncodingError, TooLargeError

Value: TypeAlias = Union[bool, int, bytes, str, "tuple[Value, ...]", "list[Value]", None]

MAX_DEPTH: Final = 16
MAX_BYTES: Final = 8 * 1024 * 1024
MAX_VALUES: Final = 65_536
SHORT_BYTES: Final = 256
FEW_LONG_ARRAYS: Final = 4
"""So many array headers of the long forms, or bytes that look like them, cost little even where they lie: in what is short and
read most often, counting them is faster than to look through it."""
INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**64 - 1

# One packer for all: making one takes four times as long as packing a small value. It is not shared between threads.
_PACKER: Final = msgpack.Packer(use_bin_type=True)
_ARRAY_16: Final = b"\xdc"
_ARRAY_32: Final = b"\xdd"
_ATOMS: Final = frozenset({type(None), bool, int, bytes, str})


def encode(value: Value) -> bytes:
    """Return the canonical bytes of `value`. Raises `BadEncodingError` for what has none (floats, maps, huge integers)."""
    _check(value, MAX_DEPTH)
    return _pack(value)


def encode_trusted(value: Value) -> bytes:
    """Return the canonical bytes of a value that was built by our own code from checked types (the hot path)."""
    try:
        return _PACKER.pack(value)
    except (OverflowError, ValueError, TypeError) as error:
        raise BadEncodingError(f"value has no canonical encoding: {error}") from error


_pack = encode_trusted


def decode(data: bytes, *, max_bytes: int = MAX_BYTES, max_values: int = MAX_VALUES) -> Value:
    """Return the value that `data` is the canonical encoding of; arrays come back as tuples.

    Raises `TooLargeError` over `max_bytes` or `max_values` (counted while reading, so that megabytes of empty arrays cost no more
    than the bound), `BadEncodingError` for anything that does not re-encode to the same bytes.
    """
    if len(data) > max_bytes:
        raise TooLargeError("encoded object", limit=max_bytes, got=len(data))
    try:
        if len(data) > SHORT_BYTES or data.count(_ARRAY_16) + data.count(_ARRAY_32) > FEW_LONG_ARRAYS:
            _check_complete(data)
        value: Value = msgpack.unpackb(
            data,
            raw=False,
            use_list=False,
            strict_map_key=True,
            object_pairs_hook=_refuse_map,
            ext_hook=_refuse_ext,
            list_hook=_counter(max_values),
            max_array_len=max_values,
            max_map_len=0,
            max_ext_len=0,
        )
    except (BadEncodingError, TooLargeError):
        raise
    except (ValueError, UnicodeDecodeError, msgpack.UnpackException, RecursionError, OverflowError) as error:
        raise BadEncodingError(f"not valid msgpack: {error or type(error).__name__}") from error
    _check(value, MAX_DEPTH)
    if _pack(value) != data:
        raise BadEncodingError("not canonical: the bytes differ from the value's one encoding")
    return value


def _check_complete(data: bytes) -> None:
    """Refuse arrays that announce more items than follow: unpacking makes room for them all first, nested a thousand deep."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(data))
    unpacker.feed(data)
    unpacker.skip()  # makes nothing of what it reads


def _counter(limit: int) -> Callable[[tuple[Value, ...]], tuple[Value, ...]]:
    """Return a hook that counts arrays and their items, and stops the reading over `limit`."""
    count = 0

    def hook(items: tuple[Value, ...]) -> tuple[Value, ...]:
        nonlocal count
        count += 1 + len(items)
        if count > limit:
            raise TooLargeError("number of encoded values", limit=limit, got=count)
        return items

    return hook


def _check(value: Value, depth: int) -> None:
    """Refuse types outside the canonical subset and nesting deeper than `depth` arrays."""
    kind = type(value)
    if kind is tuple or kind is list:
        if depth == 0:
            raise BadEncodingError(f"nested deeper than {MAX_DEPTH} arrays", limit=MAX_DEPTH)
        for item in value:  # type: ignore[union-attr]
            if type(item) not in _ATOMS or type(item) is str:
                _check(item, depth - 1)
    elif kind not in _ATOMS:
        raise BadEncodingError(f"type {kind.__name__} has no canonical encoding")
    elif kind is str:
        _check_text(value)  # type: ignore[arg-type]


def _check_text(text: str) -> None:
    """Refuse lone surrogates: they have no UTF-8 bytes."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BadEncodingError("text holds a lone surrogate, which UTF-8 cannot carry") from error


def _refuse_map(_pairs: object) -> Value:
    raise BadEncodingError("maps are not canonical: objects are encoded as arrays")


def _refuse_ext(code: int, _data: bytes) -> Value:
    raise BadEncodingError(f"extension type {code} is not canonical")


def fields(value: Value, count: int, what: str) -> tuple[Value, ...]:
    """Return `value` as the tuple of exactly `count` fields that a `what` has."""
    if type(value) is not tuple:
        raise BadEncodingError(f"{what} must be an array of {count} fields, got {type(value).__name__}")
    if len(value) != count:
        raise BadEncodingError(f"{what} must have {count} fields, got {len(value)}")
    return value


def as_int(value: Value, what: str, low: int = 0, high: int = INT_MAX) -> int:
    """Return `value` as an integer within [low, high]; booleans are not integers here."""
    if type(value) is not int:
        raise BadEncodingError(f"{what} must be an integer, got {type(value).__name__}")
    if not low <= value <= high:
        raise BadEncodingError(f"{what} must be within {low}..{high}, got {value}")
    return value


def as_bool(value: Value, what: str) -> bool:
    """Return `value` as a boolean."""
    if type(value) is not bool:
        raise BadEncodingError(f"{what} must be a boolean, got {type(value).__name__}")
    return value


def as_bytes(value: Value, what: str, *, size: int | None = None, max_size: int = MAX_BYTES) -> bytes:
    """Return `value` as bytes of exactly `size`, or of at most `max_size`."""
    if type(value) is not bytes:
        raise BadEncodingError(f"{what} must be bytes, got {type(value).__name__}")
    if size is not None and len(value) != size:
        raise BadEncodingError(f"{what} must have {size} bytes, got {len(value)}")
    if len(value) > max_size:
        raise TooLargeError(what, limit=max_size, got=len(value))
    return value


def as_str(value: Value, what: str, *, max_chars: int = 256) -> str:
    """Return `value` as text of at most `max_chars` characters."""
    if type(value) is not str:
        raise BadEncodingError(f"{what} must be text, got {type(value).__name__}")
    if len(value) > max_chars:
        raise TooLargeError(what, limit=max_chars, got=len(value))
    return value


def as_tuple(value: Value, what: str, *, max_items: int) -> tuple[Value, ...]:
    """Return `value` as an array of at most `max_items` items."""
    if type(value) is not tuple:
        raise BadEncodingError(f"{what} must be an array, got {type(value).__name__}")
    if len(value) > max_items:
        raise TooLargeError(what, limit=max_items, got=len(value))
    return value
