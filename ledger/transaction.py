"""Transactions without nonces (protocol, section Transactions).

`raw = [[policy, salt, valid_until_ms, chain_tag, calls, gas_limit, reference], signatures]`. The `id` is the digest of the body
(everything but the signatures): for people, receipts and duplicates. The `tx_hash` is the digest of all bytes: for the
verification cache, proposals and the transactions root. `chain_tag` is the start of the genesis hash; it only serves to tell a
sender that the transaction is for another chain, since the signed digest holds the whole genesis hash.
"""

from dataclasses import dataclass, field
from typing import Final, Self

from ledger.codec import Value, as_bytes, as_int, as_str, as_tuple, decode, encode, encode_trusted, fields
from ledger.crypto import SIGNATURE_BYTES, public_key, sign, verify
from ledger.errors import BadEncodingError, BadSignatureError, InvalidInputError
from ledger.hashing import Tag, digest
from ledger.policy import MAX_POLICY_KEYS, KeyPolicy
from ledger.types import Address, TxHash, TxId

MAX_TRANSACTION_BYTES: Final = 64 * 1024
MAX_TRANSACTION_VALUES: Final = 4_096
MAX_CALLS: Final = 16
MAX_ARGS: Final = 32
MAX_REFERENCE_CHARS: Final = 64
SALT_BYTES: Final = 8
CHAIN_TAG_BYTES: Final = 8
MAX_GAS_LIMIT: Final = 2**40


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a contract's method with positional arguments in canonical form."""

    contract: str
    method: str
    args: tuple[Value, ...]

    def to_value(self) -> Value:
        """Return the canonical form [contract, method, args]."""
        return (self.contract, self.method, self.args)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the call of a canonical form."""
        contract, method, args = fields(value, 3, "call")
        return cls(
            as_str(contract, "contract", max_chars=32),
            as_str(method, "method", max_chars=64),
            as_tuple(args, "call arguments", max_items=MAX_ARGS),
        )


@dataclass(frozen=True, slots=True)
class TransactionBody:
    """What is signed. `salt` is 8 random bytes, `valid_until_ms` Unix milliseconds, `reference` a business id or empty."""

    policy: KeyPolicy
    salt: bytes
    valid_until_ms: int
    chain_tag: bytes
    calls: tuple[Call, ...]
    gas_limit: int
    reference: str = ""

    def to_value(self) -> Value:
        """Return the canonical form."""
        return (
            self.policy.to_value(),
            self.salt,
            self.valid_until_ms,
            self.chain_tag,
            tuple(call.to_value() for call in self.calls),
            self.gas_limit,
            self.reference,
        )

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the body of a canonical form; raises `BadEncodingError` naming the field that is wrong."""
        policy, salt, valid_until_ms, chain_tag, calls_value, gas_limit, reference = fields(value, 7, "transaction body")
        calls = tuple(Call.from_value(call) for call in as_tuple(calls_value, "calls", max_items=MAX_CALLS))
        if not calls:
            raise BadEncodingError("a transaction needs at least one call")
        return cls(
            KeyPolicy.from_value(policy),
            as_bytes(salt, "salt", size=SALT_BYTES),
            as_int(valid_until_ms, "valid_until_ms", high=2**53 - 1),
            as_bytes(chain_tag, "chain tag", size=CHAIN_TAG_BYTES),
            calls,
            as_int(gas_limit, "gas limit", high=MAX_GAS_LIMIT),
            as_str(reference, "reference", max_chars=MAX_REFERENCE_CHARS),
        )

    def sign(self, genesis_hash: bytes, seeds: tuple[bytes, ...]) -> "Transaction":
        """Return the transaction signed by `seeds`, whose keys must be in the policy and reach its threshold."""
        tx_id = digest(Tag.TRANSACTION, genesis_hash, encode(self.to_value()))
        signatures = sorted((self.policy.keys.index(public_key(seed)), sign(seed, tx_id)) for seed in seeds)
        return Transaction.from_raw(encode((self.to_value(), tuple(signatures))), genesis_hash)


@dataclass(frozen=True, slots=True)
class Transaction:
    """A decoded transaction with its exact bytes and both of its digests. Its signatures are NOT checked by decoding."""

    body: TransactionBody
    signatures: tuple[tuple[int, bytes], ...]
    raw: bytes = field(repr=False)
    id: TxId
    tx_hash: TxHash

    @classmethod
    def from_raw(cls, raw: bytes, genesis_hash: bytes) -> Self:
        """Return the transaction of canonical bytes.

        Raises `BadEncodingError`, `TooLargeError`, or `InvalidInputError` with `wrong_chain`.
        """
        body_value, signatures_value = fields(
            decode(raw, max_bytes=MAX_TRANSACTION_BYTES, max_values=MAX_TRANSACTION_VALUES), 2, "transaction"
        )
        body = TransactionBody.from_value(body_value)
        check_chain_tag(body.chain_tag, genesis_hash)
        tx_id = TxId(digest(Tag.TRANSACTION, genesis_hash, encode_trusted(body_value)))
        tx_hash = TxHash(digest(Tag.TRANSACTION_RAW, genesis_hash, raw))
        return cls(body, _signatures(signatures_value), raw, tx_id, tx_hash)

    @property
    def sender(self) -> Address:
        """Return the address of the key policy that signed."""
        return self.body.policy.address

    def check_signatures(self) -> None:
        """Raise `BadSignatureError` unless exactly `threshold` distinct keys of the policy signed the id."""
        policy = self.body.policy
        if len(self.signatures) != policy.threshold:
            raise BadSignatureError(
                f"the policy needs exactly {policy.threshold} signatures, got {len(self.signatures)}",
                need=policy.threshold,
                have=len(self.signatures),
            )
        for index, signature in self.signatures:
            if index >= len(policy.keys) or not verify(policy.keys[index], signature, self.id):
                raise BadSignatureError(f"the signature of key {index} is not valid", key_index=index)


def _signatures(value: Value) -> tuple[tuple[int, bytes], ...]:
    """Return [[key index, signature], ...] with strictly ascending indexes."""
    signatures = []
    last = -1
    for item in as_tuple(value, "signatures", max_items=MAX_POLICY_KEYS):
        index_value, signature = fields(item, 2, "signature")
        last = as_int(index_value, "key index", last + 1, MAX_POLICY_KEYS - 1)
        signatures.append((last, as_bytes(signature, "signature", size=SIGNATURE_BYTES)))
    return tuple(signatures)


def chain_tag_of(genesis_hash: bytes) -> bytes:
    """Return the 8 bytes of the genesis hash that every transaction of the chain carries."""
    return genesis_hash[:CHAIN_TAG_BYTES]


def check_chain_tag(chain_tag: bytes, genesis_hash: bytes) -> None:
    """Raise `wrong_chain` when a transaction was made for another chain."""
    expected = chain_tag_of(genesis_hash)
    if chain_tag != expected:
        raise InvalidInputError(
            "wrong_chain",
            f"the transaction is for chain {chain_tag.hex()}, this is {expected.hex()}",
            hint="take the genesis hash from chain_info of this network and sign again",
            expected="0x" + expected.hex(),
            got="0x" + chain_tag.hex(),
        )
