"""Contract storage: typed maps and items over canonical keys and values, with gas for each access and byte.

A key is the canonical encoding of [contract, field] for an `Item` and of [contract, field, key] for a `Map`. Maps are read and
written by key only: there is no iteration, so no order to agree on.
"""

from enum import StrEnum
from typing import Any, Generic, TypeVar

import msgpack

from ledger.codec import Value, encode_trusted
from vm import gas
from vm.abi import FieldSpec
from vm.errors import ContractError, CoreError
from vm.gas import GasMeter
from vm.overlay import Overlay

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")


class Storage:
    """Metered access to the overlay. `meter` is the running transaction's; `frozen` while a read method runs."""

    __slots__ = ("frozen", "meter", "overlay")

    def __init__(self, overlay: Overlay, meter: GasMeter, *, frozen: bool = False) -> None:
        self.overlay = overlay
        self.meter = meter
        self.frozen = frozen

    def read(self, key: bytes) -> bytes | None:
        """Return the value under `key`, charging for the access and the bytes."""
        found = self.overlay.get(key)
        self.meter.charge(gas.READ + gas.READ_BYTE * (len(key) + (0 if found is None else len(found))))
        return found

    def write(self, key: bytes, value: bytes | None) -> None:
        """Set or delete `key`, charging for the access and the bytes. Raises `ContractError` READ_ONLY in a read method."""
        if self.frozen:
            raise ContractError(CoreError.READ_ONLY)
        self.meter.charge(gas.WRITE + gas.WRITE_BYTE * (len(key) + (0 if value is None else len(value))))
        self.overlay.put(key, value)


class Map(Generic[K, V]):
    """Values by key. Annotate a contract's attribute with it; a tuple key addresses by several parts."""

    __slots__ = ("_contract", "_encode", "_encode_key", "_field", "_load", "_raw_keys", "_storage")

    def __init__(self, storage: Storage, contract: str, field: FieldSpec) -> None:
        if field.key is None:
            raise TypeError(f"{field.name} is a Map and needs a key type")
        self._storage = storage
        self._contract = contract
        self._field = field.name
        self._encode_key = field.key.encode
        self._encode = field.value.encode
        self._load = field.value.load
        self._raw_keys: dict[K, bytes] = {}

    def get(self, key: K, default: D = None) -> V | D:  # type: ignore[assignment]
        """Return the value of `key`, or `default`."""
        found = self._storage.read(self._raw_key(key))
        return default if found is None else _loaded(found, self._load)

    def require(self, key: K, error: StrEnum, **numbers: int | str) -> V:
        """Return the value of `key`, or fail the call with `error` where there is none."""
        found = self._storage.read(self._raw_key(key))
        if found is None:
            raise ContractError(error, **numbers)
        return _loaded(found, self._load)  # type: ignore[no-any-return]

    def __getitem__(self, key: K) -> V:
        found = self._storage.read(self._raw_key(key))
        if found is None:
            raise KeyError(key)
        return _loaded(found, self._load)  # type: ignore[no-any-return]

    def __contains__(self, key: K) -> bool:
        return self._storage.read(self._raw_key(key)) is not None

    def __setitem__(self, key: K, value: V) -> None:
        self._storage.write(self._raw_key(key), encode_trusted(self._encode(value)))

    def __delitem__(self, key: K) -> None:
        self._storage.write(self._raw_key(key), None)

    def _raw_key(self, key: K) -> bytes:
        """Return the state key; one execution uses the same few keys again and again (read, then write), so it remembers."""
        raw = self._raw_keys.get(key)
        if raw is None:
            raw = self._raw_keys[key] = storage_key(self._contract, self._field, self._encode_key(key))
        return raw


class Item(Generic[V]):
    """One value. Annotate a contract's attribute with it."""

    __slots__ = ("_encode", "_key", "_load", "_storage")

    def __init__(self, storage: Storage, contract: str, field: FieldSpec) -> None:
        self._storage = storage
        self._key = storage_key(contract, field.name)
        self._encode = field.value.encode
        self._load = field.value.load

    def get(self, default: D = None) -> V | D:  # type: ignore[assignment]
        """Return the value, or `default` before the first `set`."""
        found = self._storage.read(self._key)
        return default if found is None else _loaded(found, self._load)

    def set(self, value: V) -> None:
        """Store the value."""
        self._storage.write(self._key, encode_trusted(self._encode(value)))

    def clear(self) -> None:
        """Delete the value."""
        self._storage.write(self._key, None)


def storage_key(contract: str, field: str, *key: Value) -> bytes:
    """Return the state key of an item, or with one canonical `key` that of a map's entry (what proofs are asked for)."""
    return encode_trusted((contract, field, *key))


def _loaded(raw: bytes, load: Any) -> Any:
    """Return the Python object of bytes that came from our own state."""
    value = msgpack.unpackb(raw, raw=False, use_list=False)
    return value if load is None else load(value)
