"""One damaged folder: everything is read from it, then the node heals and ends where the other members are."""

import random
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ledger.state_proof import verify_state_proof
from ledger.types import Height
from node.block_store import NodeStore, StorageError
from node.chain import Chain
from node.damage import ASIDE_NAME, STORE_NAME, is_damage, noted_damage, open_or_heal
from tests.diskfaults.faults import Fault, Kind, inflict
from tests.diskfaults.original import Original, Past, catch_up, chain_on
from tests.one_driver import GENESIS_HASH

SIGN_STATE = "sign-state.a"
SIGNED = b"never touched"
PROVEN = 4
OLDER = (0, 1, 50)
MAY_LOSE = (Kind.CUT, Kind.GARBAGE)
"""A log that ends early, or whose last header is nonsense, looks like a write that a power failure cut off."""


class Found(StrEnum):
    """How the damage showed."""

    WHOLE = "all right"
    EARLIER = "earlier height"  # all right for it
    NOT_OPENED = "not opened"
    NOT_READ = "reads refused"


class WrongError(AssertionError):
    """A read returned what never was, or the node did not heal."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened, how it showed, and what a person was told."""

    fault: Fault
    found: Found
    said: str
    resynced: bool


def play(original: Original, folder: Path, seed: int, *, resync: bool) -> Outcome:
    """Copy the original to a new folder, damage it, read everything, and heal.

    Without `resync` a node that has to begin with an empty store is not seen through to the end: that takes the longest.
    """
    shutil.copytree(original.folder / STORE_NAME, folder / STORE_NAME)
    (folder / SIGN_STATE).write_bytes(SIGNED)
    fault = inflict(folder / STORE_NAME, random.Random(seed))
    try:
        found, said = _open_and_read(original, folder)
        _require(found is not Found.EARLIER or fault.kind in MAY_LOSE, "synced blocks were lost without a word")
        resynced = _heal(original, folder, resync=resync)
        _require((folder / SIGN_STATE).read_bytes() == SIGNED, "the sign-state was touched")
        _require(resynced or found in (Found.WHOLE, Found.EARLIER), "the node went on with a damaged store")
    except BaseException as error:
        error.add_note(f"{fault}, seed {seed}")
        raise
    return Outcome(fault, found, said, resynced)


def _require(condition: object, what: str) -> None:
    if not condition:
        raise WrongError(what)


# ---- reading


def _open_and_read(original: Original, folder: Path) -> tuple[Found, str]:
    """Open as a node that must not heal, and read everything in every way there is."""
    try:
        store = open_or_heal(folder, GENESIS_HASH, "refuse")
    except StorageError as error:
        _require(is_damage(error) and str(folder / STORE_NAME) in error.message and error.hint, f"unclear: {error}")
        return Found.NOT_OPENED, error.message
    try:
        writes, refusals = _read_records(store.raw, original.past)
    except BaseException:
        store.close()
        raise
    if refusals:
        store.close()
        _require(all(map(is_damage, refusals)), f"not all of them tell of damage: {refusals}")
        _require(noted_damage(folder) is not None, "no note of the damage was left")
        return Found.NOT_READ, refusals[0].message
    with chain_on(store) as chain:
        _check_chain(chain, original)
    return (Found.WHOLE if writes == original.past.writes else Found.EARLIER), ""


def _read_records(store: NodeStore, past: Past) -> tuple[int, list[StorageError]]:
    """Read every record by key and in order; return the last number of writes that all of it fits to, and what was refused."""
    fits, refusals = past.always, list[StorageError]()
    for key in past.masks:
        try:
            fits &= past.whenever(key, store.get(key))
        except StorageError as error:
            refusals.append(error)
    seen = set()
    try:
        for key, value in store.iterate():
            fits &= past.whenever(key, value)
            seen.add(key)
        for key in past.masks.keys() - seen:
            fits &= past.whenever(key, None)
    except StorageError as error:
        refusals.append(error)
    _require(fits, "what was read never stood there together")
    return fits.bit_length() - 1, refusals


def _check_chain(chain: Chain, original: Original) -> None:
    """The tip is a block of the chain, the flat state is its tree's, and proofs lead to the roots of this and older heights."""
    tip = chain.tip.height
    _require(chain.tip_hash == original.hashes[tip], f"another tip at height {tip}")
    prefix = chain.store.state.prefix
    flat = {key[len(prefix) :]: value for key, value in chain.store.raw.iterate(prefix)}
    version = chain.version(tip)
    _require({key: value for _, key, value in version.tree.items(version.root)} == flat, "the flat state is not the tree's")
    for height in {tip, *(Height(older) for older in OLDER if older < tip)}:
        old = chain.version(height)
        _require(old.header.hash(GENESIS_HASH) == original.hashes[height], f"another block {height}")
        for key in (*sorted(flat)[:: max(1, len(flat) // PROVEN)], b"nothing"):
            verify_state_proof(GENESIS_HASH, old.header.state_root, key, old.get(key), old.prove(key))


# ---- healing


def _heal(original: Original, folder: Path, *, resync: bool) -> bool:
    """Start as a node that heals, and again when damage shows on the way; return whether it had to set its store aside."""
    for _ in range(2):
        store = open_or_heal(folder, GENESIS_HASH, "resync")
        aside = (folder / ASIDE_NAME).exists()
        _require(not aside or store.tip_height() is None, "a store was set aside, but its successor is not empty")
        try:
            with chain_on(store) as chain:
                if aside and not resync:
                    return True
                catch_up(chain, original.blocks)
                _require(chain.tip_hash == original.end, "the node ended on another block")
                return aside
        except StorageError as error:
            _require(is_damage(error) and not aside, f"the new store failed: {error}")
    raise WrongError("damage was found twice")
