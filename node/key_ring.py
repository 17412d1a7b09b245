"""The consensus keys that a node can sign with: the current one and, while it is replaced, the next one (protocol, rule 14).

The next key waits beside the current one as `<file>.next`. As soon as a committed block names it as the member's key it takes the
place of the current one, whose file and copy in memory are dropped then: light clients trust that replaced keys do not leak.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from ledger.crypto import forget_secret_keys, public_key
from node.durable import sync_directory
from node.secret_files import read_seed

NEXT_SUFFIX = ".next"


class KeyRing:
    """Keys in memory only: the first one is the current one."""

    def __init__(self, seeds: Iterable[bytes]) -> None:
        self._seeds = {public_key(seed): seed for seed in seeds}
        self._current = next(iter(self._seeds))

    @property
    def public_keys(self) -> frozenset[bytes]:
        """Return the keys that this node can sign with."""
        return frozenset(self._seeds)

    def seed(self, key: bytes) -> bytes:
        """Return the seed of one of `public_keys`."""
        return self._seeds[key]

    def settle(self, key: bytes) -> bool:
        """Take that the chain names `key` as this member's; if it is the next one, forget all others and return True."""
        if key == self._current or key not in self._seeds:
            return False
        self._seeds, self._current = {key: self._seeds[key]}, key
        forget_secret_keys()
        return True


class FileKeyRing(KeyRing):
    """The key in a secret file; the next one is read from its `.next` file when the chain names it. Raises `SecretFileError`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = path.with_name(path.name + NEXT_SUFFIX)
        super().__init__([read_seed(path, "the consensus key")])

    def settle(self, key: bytes) -> bool:
        """As `KeyRing.settle`; the next key's file takes the place of the current one's. One with another key stays as it is."""
        if key in self._seeds or not self._next.exists():
            return False
        seed = read_seed(self._next, "the next consensus key")
        if public_key(seed) != key:
            return False
        self._seeds[key] = seed
        os.replace(self._next, self._path)
        sync_directory(self._path.parent)
        return super().settle(key)
