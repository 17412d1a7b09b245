"""A trusted block as people hand it on: `HEIGHT:0xHASH`, or a JSON file that a light client keeps.

    {"genesis_hash", "height", "block_hash", "timestamp_ms", "epoch", "members": [{"id", "public_key"}], "next_committee_hash"}

The file is as good as the one it came from: who takes a stranger's file trusts that stranger with everything.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from ledger.committee import Committee, Member
from ledger.crypto import PUBLIC_KEY_BYTES
from ledger.errors import BadEncodingError, InvalidInputError
from ledger.hashing import HASH_BYTES
from ledger.proof import TrustedBlock
from ledger.types import BlockHash, Height, MemberId

_REFERENCE: Final = re.compile(r"([0-9]{1,15}):0x([0-9a-fA-F]{64})", re.ASCII)
_MAX_FILE_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class BlockReference:
    """A height and the hash of its block, from a source that is trusted."""

    height: Height
    block_hash: BlockHash

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the reference of `HEIGHT:0xHASH`. Raises `BadEncodingError`."""
        match = _REFERENCE.fullmatch(text)
        if match is None:
            raise BadEncodingError(f"{text[:90]!r} is no trusted block", hint="write it as HEIGHT:0xHASH")
        return cls(Height(int(match[1])), BlockHash(bytes.fromhex(match[2])))


def to_json(block: TrustedBlock, genesis_hash: bytes) -> str:
    """Return the file form of a trusted block."""
    document = {
        "genesis_hash": "0x" + genesis_hash.hex(),
        "height": block.height,
        "block_hash": "0x" + block.block_hash.hex(),
        "timestamp_ms": block.timestamp_ms,
        "epoch": block.epoch,
        "members": [{"id": item.id, "public_key": "0x" + item.public_key.hex()} for item in block.committee.members],
        "next_committee_hash": "0x" + block.next_committee_hash.hex(),
    }
    return json.dumps(document, indent=2) + "\n"


def from_json(text: str, genesis_hash: bytes) -> TrustedBlock:
    """Return the trusted block of a file's text. Raises `BadEncodingError`, or `InvalidInputError` `wrong_chain`."""
    try:
        found = json.loads(text)
        its_genesis = _bytes(found["genesis_hash"], HASH_BYTES)
        block = TrustedBlock(
            Height(_number(found["height"])),
            BlockHash(_bytes(found["block_hash"], HASH_BYTES)),
            _number(found["timestamp_ms"]),
            committee_from_json(found),
            _bytes(found["next_committee_hash"], HASH_BYTES),
        )
    except (KeyError, TypeError, ValueError, RecursionError) as problem:
        hint = "delete it, or copy one that a light client has kept"
        raise BadEncodingError(f"this is no file of a trusted block: {problem!r}", hint=hint) from None
    if its_genesis != genesis_hash:
        raise InvalidInputError(
            "wrong_chain",
            "the trusted block is of another chain",
            hint="keep a file for each chain",
            expected="0x" + genesis_hash.hex(),
            got="0x" + its_genesis.hex(),
        )
    return block


def committee_from_json(found: Any) -> Committee:
    """Return the committee in {"epoch", "members": [{"id", "public_key"}]}. Raises `KeyError`, `TypeError`, `ValueError`."""
    members = tuple(
        Member(MemberId(str(item["id"])), _bytes(item["public_key"], PUBLIC_KEY_BYTES), b"", "") for item in found["members"]
    )
    return Committee(_number(found["epoch"]), members)


def load(path: Path, genesis_hash: bytes) -> TrustedBlock | None:
    """Return the trusted block in a file, None when there is no file. Raises as `from_json`, or `OSError`."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES)
    except FileNotFoundError:
        return None
    return from_json(data.decode("utf-8", errors="replace"), genesis_hash)


def save(path: Path, block: TrustedBlock, genesis_hash: bytes) -> None:
    """Put a trusted block into a file, whole or not at all: a torn one would forget what has been seen."""
    beside = path.with_name(path.name + ".new")
    with beside.open("w", encoding="utf-8") as file:
        file.write(to_json(block, genesis_hash))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= 2**53:
        raise ValueError(f"{value!r} is no count")
    return value


def _bytes(value: str, size: int) -> bytes:
    found = bytes.fromhex(value.removeprefix("0x"))
    if len(found) != size:
        raise ValueError(f"expected {size} bytes, got {len(found)}")
    return found
