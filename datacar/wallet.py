"""A wallet: one key from a BIP-39 phrase (or a bare seed), its address, and signing."""

from dataclasses import dataclass, field
from typing import Self

from datacar.keys import DEFAULT_WORDS, KeyPair, generate_mnemonic, key_from_mnemonic, normalize_mnemonic
from ledger.policy import KeyPolicy, format_address
from ledger.transaction import Transaction, TransactionBody


@dataclass(frozen=True, slots=True)
class Wallet:
    """An account that one key controls. `mnemonic` is empty for a wallet made of a bare key; neither is ever shown."""

    key: KeyPair = field(repr=False)
    mnemonic: str = field(default="", repr=False)
    address: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", format_address(self.policy.address))

    @classmethod
    def generate(cls, words: int = DEFAULT_WORDS) -> Self:
        """Return a new wallet from the system's randomness; keep its `mnemonic`, it is the only backup."""
        return cls.from_mnemonic(generate_mnemonic(words))

    @classmethod
    def from_mnemonic(cls, words: str, account: int = 0, index: int = 0, passphrase: str = "") -> Self:
        """Return the wallet at `m/44'/1'/account'/0'/index'` of a phrase. Raises `BadMnemonicError`."""
        phrase = normalize_mnemonic(words)
        return cls(key_from_mnemonic(phrase, passphrase=passphrase, account=account, index=index), phrase)

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """Return the wallet of a bare 32-byte Ed25519 seed."""
        return cls(KeyPair.from_seed(seed))

    @property
    def policy(self) -> KeyPolicy:
        """Return the key policy "1 of [key]" that the address stands for."""
        return KeyPolicy.single(self.key.public_key)

    def sign(self, body: TransactionBody, genesis_hash: bytes) -> Transaction:
        """Return the signed transaction, valid on the chain with this genesis hash only."""
        return body.sign(genesis_hash, (self.key.seed,))
