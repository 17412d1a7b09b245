"""Accounts of several keys, and transactions that their holders sign one after the other, each on a machine of their own.

    shared = Multisig.of(2, [alice.key.public_key, bob.key.public_key, carol.key.public_key])
    pending = shared.build(client.chain_info(), [Call("asset", "transfer", (parse_address(to), motes))])
    pending = PendingTransaction.from_text(pending.sign(alice).to_text())   # the text travels as a file
    receipt = client.send(pending.sign(bob).transaction())

What people read in the file is what is signed: the id is computed from it anew, so a changed file is refused. Only the node that
takes the transaction is asked anything; signing needs no network.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from datacar import on_demand
from datacar.errors import BadEncodingError, BadSignatureError, DatacarError, RejectedError
from datacar.transactions import ChainInfo, build
from datacar.wallet import Wallet
from ledger.codec import encode
from ledger.crypto import sign, verify
from ledger.hashing import Tag, digest
from ledger.policy import KeyPolicy, format_address
from ledger.transaction import Call, Transaction, TransactionBody, chain_tag_of
from vm.errors import ContractError
from vm.gas import DEFAULT_GAS_LIMIT

if TYPE_CHECKING:
    from vm.registry import Registry

VERSION: Final = 1
POLICY_KIND: Final = "datacar-multisig"
PENDING_KIND: Final = "datacar-multisig-transaction"
MAX_TEXT_CHARS: Final = 512 * 1024
WINDOW_SHARE: Final = (9, 10)
"""How much of the chain's window a transaction may wait for its signers, unless the caller says otherwise."""


class BadFileError(BadEncodingError):
    """A file that is not what it says: another kind, a field that is missing or wrong, or changed after it was made."""

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message, hint="ask for the file anew, from someone you trust; sign nothing of this one", **details)


class NotASignerError(RejectedError):
    """The key is none of the account's."""

    is_local: ClassVar = True

    def __init__(self, key: bytes, account: str) -> None:
        super().__init__(
            "not_permitted",
            f"the key 0x{key.hex()} is none of {account}'s",
            hint="sign with the wallet of one of the keys that the file lists",
            key="0x" + key.hex(),
            account=account,
        )


class ThresholdNotReachedError(RejectedError):
    """Too few keys have signed: `need` and `have` say how many."""

    is_local: ClassVar = True

    def __init__(self, need: int, have: int) -> None:
        super().__init__(
            "not_permitted",
            f"{need} signatures are needed and {have} are there",
            hint=f"have {need - have} more of the account's keys sign the file, or combine it with what others signed",
            need=need,
            have=have,
        )


@dataclass(frozen=True, slots=True)
class Multisig:
    """An account that any `threshold` of its keys control. The same keys and threshold have the same address on every chain."""

    policy: KeyPolicy

    @classmethod
    def of(cls, threshold: int, keys: Iterable[bytes]) -> Self:
        """Return the account of these public keys (32 bytes each, 1 to 16, in any order). Raises `InvalidInputError`."""
        return cls(KeyPolicy.from_value((threshold, tuple(sorted(keys)))))

    @property
    def address(self) -> str:
        """Return the account's address."""
        return format_address(self.policy.address)

    def build(
        self,
        chain: ChainInfo,
        calls: Sequence[Call],
        *,
        gas_limit: int = DEFAULT_GAS_LIMIT,
        reference: str = "",
        valid_until_ms: int | None = None,
    ) -> "PendingTransaction":
        """Return a transaction of canonical calls that nobody has signed yet; `valid_until_ms` ends the collecting."""
        share, of = WINDOW_SHARE
        until_ms = chain.timestamp_ms + chain.tx_window_ms * share // of if valid_until_ms is None else valid_until_ms
        body = build(chain, self.policy, calls, gas_limit=gas_limit, reference=reference, valid_until_ms=until_ms)
        return PendingTransaction(body, chain.genesis_hash)

    def to_text(self) -> str:
        """Return the account as a JSON document, for a file."""
        return _text({"version": VERSION, "kind": POLICY_KIND, "account": self.address, **_policy_json(self.policy)})

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the account of what `to_text` returned. Raises `BadFileError`."""
        document = _document(text, POLICY_KIND, {"account", "threshold", "keys"})
        return cls(_policy(document))


@dataclass(frozen=True, slots=True)
class PendingTransaction:
    """A transaction whose signatures are being collected: [key index, signature], ascending, each of them valid.

    Raises `BadSignatureError` for one that is not.
    """

    body: TransactionBody
    genesis_hash: bytes
    signatures: tuple[tuple[int, bytes], ...] = ()

    def __post_init__(self) -> None:
        keys = self.body.policy.keys
        for index, signature in self.signatures:
            if not verify(keys[index], signature, self.id):
                raise BadSignatureError(f"the signature of 0x{keys[index].hex()} is not valid for this transaction")

    @property
    def id(self) -> bytes:
        """Return the transaction's id, which is what the keys sign: it commits to the chain and to everything but signatures."""
        return digest(Tag.TRANSACTION, self.genesis_hash, encode(self.body.to_value()))

    @property
    def multisig(self) -> Multisig:
        """Return the account that acts."""
        return Multisig(self.body.policy)

    @property
    def signed_by(self) -> tuple[bytes, ...]:
        """Return the public keys that have signed."""
        return tuple(self.body.policy.keys[index] for index, _ in self.signatures)

    @property
    def missing(self) -> int:
        """Return how many more signatures are needed."""
        return max(0, self.body.policy.threshold - len(self.signatures))

    def sign(self, wallet: Wallet) -> Self:
        """Return it with the signature of a wallet's key too; once more changes nothing. Raises `NotASignerError`."""
        key, keys = wallet.key.public_key, self.body.policy.keys
        if key not in keys:
            raise NotASignerError(key, self.multisig.address)
        return self._with({keys.index(key): sign(wallet.key.seed, self.id)})

    def combine(self, *others: "PendingTransaction") -> Self:
        """Return it with the signatures of the others too. Raises `BadFileError` for a different transaction."""
        found = self
        for other in others:
            if other.id != self.id:
                message = f"these are different transactions: 0x{self.id.hex()} and 0x{other.id.hex()}"
                raise BadFileError(message, expected="0x" + self.id.hex(), got="0x" + other.id.hex())
            found = found._with(dict(other.signatures))
        return found

    def transaction(self) -> Transaction:
        """Return the transaction, ready to be sent, with as many signatures as it takes. Raises `ThresholdNotReachedError`."""
        threshold = self.body.policy.threshold
        if self.missing:
            raise ThresholdNotReachedError(threshold, len(self.signatures))
        return Transaction.from_raw(encode((self.body.to_value(), self.signatures[:threshold])), self.genesis_hash)

    def to_text(self, registry: "Registry | None" = None) -> str:
        """Return it as a JSON document, for a file; arguments of calls are in the JSON forms of the ABI: money in motes."""
        body, known = self.body, registry or on_demand.default_registry()
        return _text(
            {
                "version": VERSION,
                "kind": PENDING_KIND,
                "id": "0x" + self.id.hex(),
                "genesis_hash": "0x" + self.genesis_hash.hex(),
                "account": self.multisig.address,
                **_policy_json(body.policy),
                "calls": [on_demand.call_to_json(known, call) for call in body.calls],
                "reference": body.reference,
                "gas_limit": body.gas_limit,
                "valid_until_ms": body.valid_until_ms,
                "salt": "0x" + body.salt.hex(),
                "signatures": [
                    {"key": "0x" + body.policy.keys[index].hex(), "signature": "0x" + signature.hex()}
                    for index, signature in self.signatures
                ],
            }
        )

    @classmethod
    def from_text(cls, text: str, registry: "Registry | None" = None) -> Self:
        """Return the transaction of what `to_text` returned, everything checked. Raises `BadFileError`, `BadSignatureError`."""
        document = _document(text, PENDING_KIND, _PENDING_FIELDS)
        try:
            pending = cls(_body(document, registry or on_demand.default_registry()), _bytes(document["genesis_hash"]))
            told, signatures = _bytes(document["id"]), _signatures(document["signatures"], pending.body.policy)
        except (KeyError, TypeError, ValueError) as problem:
            raise BadFileError(f"the file lacks something or has it wrong: {problem!r}") from None
        if told != pending.id:
            message = f"the file was changed: it says transaction 0x{told.hex()}, what it holds is 0x{pending.id.hex()}"
            raise BadFileError(message, expected="0x" + told.hex(), got="0x" + pending.id.hex())
        return replace(pending, signatures=signatures)

    def _with(self, more: Mapping[int, bytes]) -> Self:
        return replace(self, signatures=tuple(sorted({**dict(self.signatures), **more}.items())))


_PENDING_FIELDS: Final = frozenset(
    {
        "id",
        "genesis_hash",
        "account",
        "threshold",
        "keys",
        "calls",
        "reference",
        "gas_limit",
        "valid_until_ms",
        "salt",
        "signatures",
    }
)


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _document(text: str, kind: str, names: Iterable[str]) -> Mapping[str, Any]:
    """Return a file's object with exactly these fields. Raises `BadFileError`."""
    if len(text) > MAX_TEXT_CHARS:
        raise BadFileError(f"the file has over {MAX_TEXT_CHARS} characters", limit=MAX_TEXT_CHARS)
    try:
        document = json.loads(text, object_pairs_hook=_members)
    except (ValueError, RecursionError) as problem:
        raise BadFileError(f"the file is not JSON: {problem}") from None
    if not isinstance(document, dict) or document.get("kind") != kind or document.get("version") != VERSION:
        raise BadFileError(f"the file is no {kind} of version {VERSION}")
    if document.keys() != {"version", "kind", *names}:
        raise BadFileError(f"the file must have exactly the fields {', '.join(sorted(names))}")
    return document


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's members. Raises `ValueError` for a name that stands there twice: which of them would people read?"""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has the same name twice")
    return found


def _policy_json(policy: KeyPolicy) -> dict[str, Any]:
    return {"threshold": policy.threshold, "keys": ["0x" + key.hex() for key in policy.keys]}


def _policy(document: Mapping[str, Any]) -> KeyPolicy:
    """Return a document's policy; the account it names must be that policy's. Raises `BadFileError`."""
    try:
        policy = KeyPolicy.from_value((document["threshold"], tuple([_bytes(key) for key in document["keys"]])))
    except (TypeError, ValueError, DatacarError) as problem:
        raise BadFileError(f"threshold and keys make no account: {problem}") from None
    if (address := format_address(policy.address)) != document["account"]:
        raise BadFileError(f"the file was changed: it says account {document['account']}, its keys are those of {address}")
    return policy


def _body(document: Mapping[str, Any], registry: "Registry") -> TransactionBody:
    try:
        calls = tuple([_call(registry, item) for item in document["calls"]])
        body = TransactionBody(
            policy=_policy(document),
            salt=_bytes(document["salt"]),
            valid_until_ms=document["valid_until_ms"],
            chain_tag=chain_tag_of(_bytes(document["genesis_hash"])),
            calls=calls,
            gas_limit=document["gas_limit"],
            reference=document["reference"],
        )
        return TransactionBody.from_value(body.to_value())
    except ContractError as error:
        raise BadFileError(f"a call of the file cannot be made: {error.contract}: {error.message}") from error
    except BadFileError:
        raise
    except BadEncodingError as error:
        raise BadFileError(f"the file holds no transaction: {error.message}") from error


def _call(registry: "Registry", item: Mapping[str, Any]) -> Call:
    if set(item) != {"contract", "method", "args"}:
        raise BadFileError("a call has a contract, a method and args")
    method = registry.method(item["contract"], item["method"])
    return Call(item["contract"], item["method"], on_demand.args_from_json(method, item["args"]))


def _signatures(items: Sequence[Mapping[str, str]], policy: KeyPolicy) -> tuple[tuple[int, bytes], ...]:
    """Return a file's signatures by the place of their keys. Raises `ValueError` for a key that is not the account's."""
    return tuple(sorted({policy.keys.index(_bytes(item["key"])): _bytes(item["signature"]) for item in items}.items()))


def _bytes(text: str) -> bytes:
    if not isinstance(text, str) or not text.startswith("0x"):
        raise ValueError("bytes are 0x and hex digits")
    return bytes.fromhex(text[2:])
