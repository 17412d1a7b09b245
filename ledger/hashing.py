"""The one hash of the chain: SHA-256 (FIPS 180-4) behind one function, separated by a tag and by the genesis hash.

`digest = SHA-256(tag[16] || genesis_hash[32] || payload)`. The tag separates kinds of object; the genesis hash separates
networks, so a signature made for one chain means nothing on another, even under the same name.
"""

import hashlib
from enum import Enum
from typing import Final

HASH_BYTES: Final = 32
ZERO_HASH: Final = bytes(HASH_BYTES)


class Tag(bytes, Enum):
    """One 16-byte tag for each kind of object that is hashed or signed."""

    GENESIS = b"datacar:genesis\0"
    POLICY = b"datacar:policy\0\0"
    TRANSACTION = b"datacar:tx\0\0\0\0\0\0"
    TRANSACTION_RAW = b"datacar:txraw\0\0\0"
    HEADER = b"datacar:header\0\0"
    RECEIPT = b"datacar:receipt\0"
    LIST_LEAF = b"datacar:l-leaf\0\0"
    LIST_NODE = b"datacar:l-node\0\0"
    STATE_KEY = b"datacar:s-key\0\0\0"
    STATE_LEAF = b"datacar:s-leaf\0\0"
    STATE_NODE = b"datacar:s-node\0\0"
    COMMITTEE = b"datacar:members\0"
    PRE_PREPARE = b"datacar:preprep\0"
    PREPARE = b"datacar:prepare\0"
    COMMIT = b"datacar:commit\0\0"
    VIEW_CHANGE = b"datacar:vchange\0"
    NEW_VIEW = b"datacar:newview\0"
    HANDSHAKE = b"datacar:handshk\0"
    WALLET_MESSAGE = b"datacar:message\0"
    SCHEDULED = b"datacar:sched\0\0\0"
    CONTRACT_ID = b"datacar:c-id\0\0\0\0"
    POSSESSION = b"datacar:possess\0"
    PROOF = b"datacar:proof\0\0\0"


def digest(tag: Tag, genesis_hash: bytes, payload: bytes) -> bytes:
    """Return the 32-byte SHA-256 of tag, genesis hash and payload."""
    return hashlib.sha256(tag.value + genesis_hash + payload).digest()


class Hasher:
    """`digest` for one tag on one chain with the 48-byte prefix hashed once (half the time for short payloads)."""

    __slots__ = ("_prefix",)

    def __init__(self, tag: Tag, genesis_hash: bytes) -> None:
        self._prefix = hashlib.sha256(tag.value + genesis_hash)

    def __call__(self, payload: bytes) -> bytes:
        """Return the digest of `payload`."""
        state = self._prefix.copy()
        state.update(payload)
        return state.digest()
