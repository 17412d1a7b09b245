"""Signs the transfers that benchmarks offer: each sender pays the next one a mote."""

import secrets
from collections.abc import Sequence
from typing import Final

from datacar.keys import key_from_mnemonic
from ledger.policy import KeyPolicy
from ledger.transaction import SALT_BYTES, Call, Transaction, TransactionBody, chain_tag_of

GAS_LIMIT: Final = 100_000


class Transfers:
    """Makes transfer after transfer on one chain, from senders in turn."""

    def __init__(self, mnemonics: Sequence[str], genesis_hash: str) -> None:
        self._keys = [key_from_mnemonic(words) for words in mnemonics]
        self._policies = [KeyPolicy.single(key.public_key) for key in self._keys]
        self._genesis_hash = bytes.fromhex(genesis_hash.removeprefix("0x"))
        self._chain_tag = chain_tag_of(self._genesis_hash)

    def sign(self, number: int, valid_until_ms: int) -> Transaction:
        """Return the signed transfer number `number`."""
        at = number % len(self._keys)
        to = self._policies[(at + 1) % len(self._policies)].address
        call = Call("asset", "transfer", (to, 1))
        salt = secrets.token_bytes(SALT_BYTES)
        body = TransactionBody(self._policies[at], salt, valid_until_ms, self._chain_tag, (call,), GAS_LIMIT)
        return body.sign(self._genesis_hash, (self._keys[at].seed,))
