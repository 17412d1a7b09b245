"""What a node does about a damaged store: set it aside and fetch the chain from the members again, or refuse to start.

A store that is found damaged while it is in use gets a note in its own folder, so that whoever opens it next knows; the note
goes wherever the folder goes. Setting aside renames `db` to `db.damaged`, in one step. It happens once: a second damage while
the first one's remains are there is for a person, for then it is the disk, the memory or this program. The sign-state is never
touched: what it says was signed stays signed, so a node that starts from an empty store still cannot vote twice.
"""

import json
import time
from pathlib import Path
from typing import Final, Literal

import structlog

from ledger.errors import DatacarError
from ledger.state_tree import CorruptStateError
from node.block_store import BlockStore, StorageError
from node.durable import replacing_text, sync_directory
from node.storage import Watch, locked, open_block_store

STORE_NAME: Final = "db"
ASIDE_NAME: Final = "db.damaged"
NOTE_NAME: Final = "damage.json"

OnDamage = Literal["resync", "refuse"]

log = structlog.get_logger("node")


def is_damage(error: BaseException) -> bool:
    """Return whether an error says that the store holds something wrong, which no waiting mends."""
    return isinstance(error, CorruptStateError) or (isinstance(error, StorageError) and error.reason == "store_corrupt")


def note_damage(data_dir: Path, error: DatacarError) -> None:
    """Leave a note for the next start; the first one stays. A disk that does not even take this is only logged."""
    path = data_dir / STORE_NAME / NOTE_NAME
    if path.exists():
        return
    log.critical("the store is damaged", error=str(error), note=str(path))
    note = {"message": error.message, "found_at_ms": time.time_ns() // 1_000_000, **error.data()}
    try:
        with replacing_text(path) as file:
            file.write(json.dumps(note, indent=2, default=str) + "\n")
    except OSError as failure:
        log.error("cannot note the damage", error=str(failure))


def noted_damage(data_dir: Path) -> str | None:
    """Return what the note in a store's folder says, or None without one."""
    path = data_dir / STORE_NAME / NOTE_NAME
    if not path.exists():
        return None
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"{path} is there but cannot be read"


def open_or_heal(data_dir: Path, genesis_hash: bytes, on_damage: OnDamage, watch: Watch | None = None) -> BlockStore:
    """Return the node's store; a damaged one is set aside for an empty one, or refused. Raises `StorageError`.

    `watch` is told of every error of the store in use, after damage was noted.
    """

    def look(error: StorageError) -> None:
        if is_damage(error):
            note_damage(data_dir, error)
        if watch is not None:
            watch(error)

    path = data_dir / STORE_NAME
    try:
        noted = noted_damage(data_dir)
        if noted is None:
            return open_block_store(path, genesis_hash, look)
        error = StorageError("store_corrupt", f"{path} was found damaged before: {noted}", hint="")
    except StorageError as found:
        if not is_damage(found):
            raise
        error = found
    if on_damage == "refuse":
        raise _refusal(data_dir, error) from error
    set_aside(data_dir, error)
    return open_block_store(path, genesis_hash, look)


def set_aside(data_dir: Path, error: StorageError) -> None:
    """Rename the damaged store's folder. Raises `StorageError` when another is there already, or a process uses it."""
    path, aside = data_dir / STORE_NAME, data_dir / ASIDE_NAME
    if aside.exists():
        hint = f"check the disk and the memory; then remove {aside} to let the node sync again"
        message = f"{error.message}; and {aside} still holds what was damaged before"
        raise StorageError("store_corrupt", message, hint=hint, **error.details) from error
    with locked(path):
        try:
            path.rename(aside)
            sync_directory(data_dir)
        except OSError as failure:
            message = f"cannot set {path} aside: {failure}"
            raise StorageError("store_io", message, hint="look at the folder's permissions") from failure
    log.error("the damaged store is set aside; syncing from the members", damage=error.message, aside=str(aside))


def _refusal(data_dir: Path, error: StorageError) -> StorageError:
    path = data_dir / STORE_NAME
    hint = (
        'storage.on_damage is "refuse": restore a snapshot (`datacar db restore`), or remove '
        f"{path} alone (never the sign-state) and let the node sync again"
    )
    if (path / NOTE_NAME).exists():
        hint += f"; if its files were mended, remove {path / NOTE_NAME}"
    return StorageError(error.reason, error.message, hint=hint, **error.details)
