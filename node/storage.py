"""LevelDB as the node's store (architecture, section Dependencies).

LevelDB is opened with paranoid checks and read with checksums verified, because with its defaults a flipped bit loses synced
records or returns a wrong value; and every batch is a transaction, because without that it commits even after an exception.
Those three facts are kept as tests.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import plyvel

from node.block_store import BlockStore, StorageError


class LevelStore:
    """A `ledger.store.Store` over one LevelDB directory. Not thread-safe beyond LevelDB's own guarantees."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        try:
            self._db = plyvel.DB(
                str(path),
                create_if_missing=True,
                paranoid_checks=True,
                compression=None,  # hashes, keys and signatures do not compress: trying costs CPU at every compaction
                bloom_filter_bits=10,
                lru_cache_size=64 * 1024 * 1024,
                write_buffer_size=16 * 1024 * 1024,
            )
        except plyvel.IOError as error:
            raise StorageError("store_locked", f"cannot open {path}: {error}", hint="is another node running on it?") from error
        except plyvel.Error as error:
            hint = "restore a backup, or delete the folder and let the node sync again"
            raise StorageError("store_corrupt", f"cannot open {path}: {error}", hint=hint) from error

    def get(self, key: bytes) -> bytes | None:
        """Return the value stored under `key`, its checksum verified, or None."""
        return self._db.get(key, verify_checksums=True)

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Write all of `changes` durably (synced to disk) or none of them."""
        with self._db.write_batch(transaction=True, sync=True) as batch:
            for key, value in changes.items():
                if value is None:
                    batch.delete(key)
                else:
                    batch.put(key, value)

    def iterate(self, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield the pairs under `prefix`, ascending, as they stood at the call."""
        with self._db.iterator(prefix=prefix, verify_checksums=True) as items:
            yield from items

    def close(self) -> None:
        """Release the directory."""
        self._db.close()


def open_block_store(path: Path, genesis_hash: bytes) -> BlockStore:
    """Return the chain's store in a LevelDB directory, made when it is not there. Raises `StorageError`."""
    return BlockStore(LevelStore(path), str(path), genesis_hash)
