"""What has calls in it, in JSON and in words: transactions, receipts, proposals.

They are made in steps (`node.rpc.turns`): one can hold thousands of addresses and amounts.
"""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from ledger.block import Receipt
from ledger.codec import as_tuple, decode
from ledger.errors import InvalidInputError
from ledger.policy import format_address
from ledger.transaction import MAX_ARGS, Call, Transaction
from ledger.types import MOTES_PER_DATR
from node.api import TxStatus
from node.rpc.jsonrpc import Json
from node.rpc.printable import printable
from node.rpc.turns import Steps, finished
from node.rpc.views import hex_of
from vm.abi_json import call_to_json, event_to_json, receipt_to_json, untyped_to_json, value_to_json
from vm.abi_types import Kind, TypeSpec
from vm.amount_assets import asset_beside
from vm.contracts.asset import DATR
from vm.contracts.governance_types import Nominee, Tally, Topic
from vm.contracts.planned_calls import PlannedCall
from vm.errors import ContractError
from vm.registry import Registry

_COMPOSED: Final = frozenset({Kind.LIST, Kind.TUPLE, Kind.STRUCT})


def transaction_steps(registry: Registry, transaction: Transaction) -> Steps[Json]:
    """Return a decoded transaction and a sentence for people."""
    body, calls, texts = transaction.body, [], []
    for call in body.calls:
        calls.append((yield from call_steps(registry, call)))
        yield
        texts.append((yield from text_steps(registry, call)))
        yield
    return {
        "id": hex_of(transaction.id),
        "tx_hash": hex_of(transaction.tx_hash),
        "sender": format_address(transaction.sender),
        "policy": {"threshold": body.policy.threshold, "keys": [hex_of(key) for key in body.policy.keys]},
        "salt": hex_of(body.salt),
        "valid_until_ms": body.valid_until_ms,
        "chain_tag": hex_of(body.chain_tag),
        "calls": calls,
        "gas_limit": body.gas_limit,
        "reference": body.reference,
        "signatures": [{"key_index": index, "signature": hex_of(signature)} for index, signature in transaction.signatures],
        "size_bytes": len(transaction.raw),
        "text": f"{format_address(transaction.sender)}: " + "; ".join(texts),
    }


def receipt_steps(registry: Registry, receipt: Receipt, calls: Sequence[Call] = ()) -> Steps[Json]:
    """Return a receipt; with the transaction's `calls` each result is shown by its method's type."""
    view = receipt_to_json(registry, replace(receipt, events=()), calls)
    for event in receipt.events:
        view["events"].append(event_to_json(registry, event))
        yield
    return view


def status_steps(registry: Registry, status: TxStatus, calls: Sequence[Call] = ()) -> Steps[Json]:
    """Return where a transaction stands; height, index and receipt are null until it is in a block."""
    return {
        "id": hex_of(status.id),
        "status": status.state.value,
        "height": status.height,
        "index": status.index,
        "receipt": None if status.receipt is None else (yield from receipt_steps(registry, status.receipt, calls)),
    }


def call_steps(registry: Registry, call: Call) -> Steps[Json]:
    """Return a call with named arguments, or with bare ones where it does not fit any contract."""
    view: Json = {"contract": call.contract, "method": call.method}
    try:
        method = registry.method(call.contract, call.method)
        method.decode_args(call.args)
    except ContractError:
        return view | {"args": untyped_to_json(call.args)}
    args = {}
    for param, value in zip(method.params, call.args, strict=True):
        args[param.name] = yield from _value_steps(param.type, value)
    return view | {"args": args}


def _value_steps(spec: TypeSpec, value: Any) -> Steps[Json]:
    """Return the JSON form of a value, a list's items one by one."""
    if spec.kind is not Kind.LIST:
        return value_to_json(spec, value)
    items = []
    for item in value:
        items.append(value_to_json(spec.items[0], item))
        yield
    return items


# ---- in words


def call_text(registry: Registry, call: Call) -> str:
    """Return a call as a person reads it; see `text_steps`."""
    return finished(text_steps(registry, call))


def texts_steps(registry: Registry, calls: Sequence[Call]) -> Steps[str]:
    """Return calls as a person reads them, in one line."""
    texts = []
    for call in calls:
        texts.append((yield from text_steps(registry, call)))
        yield
    return "; ".join(texts)


def text_steps(registry: Registry, call: Call, *, within: bool = False) -> Steps[str]:
    """Return a call as a person reads it, money in DATR: `asset.transfer(to=datr1..., amount=1.5 DATR)`.

    Of other assets only the smallest units are sure, as a call does not say where the decimal point is. Calls that it plans, for
    others to decide on, are shown like this too; those that they plan `within` them, as bytes.
    """
    name = printable(f"{call.contract}.{call.method}")
    try:
        method = registry.method(call.contract, call.method)
        method.decode_args(call.args)
    except ContractError as error:
        return f"{name}(...), which cannot succeed: {printable(error.message)}"
    asset = asset_beside([param.name for param in method.params], call.args) or DATR
    texts = []
    for param, value in zip(method.params, call.args, strict=True):
        if _plans(param.type) and not within:
            text = yield from _planned_steps(registry, value)
        else:
            text = _value_text(param.type, value, asset)
        texts.append(f"{param.name}={text}")
    return f"{name}({', '.join(texts)})"


def _plans(spec: TypeSpec) -> bool:
    return spec.kind is Kind.LIST and spec.items[0].name == PlannedCall.__name__


def _planned_steps(registry: Registry, calls: Any) -> Steps[str]:
    """Return a list of planned calls in words; what is no call is said to be none."""
    texts = []
    for contract, method, raw_args in calls:
        try:
            texts.append((yield from text_steps(registry, _as_call(contract, method, raw_args), within=True)))
        except InvalidInputError:
            texts.append(printable(f"{contract}.{method}") + "(...), whose arguments are no list")
        yield
    return f"[{'; '.join(texts)}]"


def _value_text(spec: TypeSpec, value: Any, asset: str) -> str:
    """Return a value in words; amounts in it are of `asset`, but for structures that name another."""
    match spec.kind:
        case Kind.MOTES:
            return f"{datr(value)} DATR" if asset == DATR else f"{value} smallest units of {printable(asset)}"
        case Kind.OPTIONAL if value is not None:
            return _value_text(spec.items[0], value, asset)
        case Kind.LIST:
            return f"[{', '.join([_part_text(spec.items[0], item, asset) for item in value])}]"
        case Kind.TUPLE:
            return f"({', '.join([_part_text(part, item, asset) for part, item in zip(spec.items, value, strict=True)])})"
        case Kind.STRUCT:
            inner = asset_beside(spec.names, value) or asset
            parts = zip(spec.names, spec.items, value, strict=True)
            return "{" + ", ".join([f"{name}: {_part_text(part, item, inner)}" for name, part, item in parts]) + "}"
        case _:
            return printable(str(value_to_json(spec, value)))


def _part_text(spec: TypeSpec, value: Any, asset: str) -> str:
    """Return a value that stands among others: text in quotes, so that it cannot pass for one of them."""
    is_text = isinstance(value, str) and spec.kind is not Kind.ENUM
    return printable(repr(value)) if is_text else _value_text(spec, value, asset)


def datr(motes: int) -> str:
    """Return motes as a plain decimal of DATR."""
    return f"{(Decimal(motes) / MOTES_PER_DATR).normalize():f}"


# ---- proposals


def proposal_steps(registry: Registry, tally: Tally) -> Steps[Json]:
    """Return a proposal; approvals and rejections are the votes that count, or counted when it was decided."""
    proposal, digest, calls = tally.proposal, tally.proposal.action.calls, []
    for call in tally.calls or ():
        calls.append((yield from _planned_call_steps(registry, call)))
        yield
    return {
        "id": proposal.id,
        "kind": proposal.action.kind.value,
        "member_id": proposal.action.member_id,
        "topics": [Topic.MEMBERS.value] if digest is None else [topic.value for topic in digest.topics],
        "calls": None if tally.calls is None else calls,
        "calls_sha256": None if digest is None else hex_of(digest.sha256),
        "candidate": None if proposal.action.nominee is None else _nominee_view(proposal.action.nominee, tally.certificate),
        "proposer": proposal.proposer,
        "reason": proposal.reason,
        "status": proposal.status.value,
        "created_height": proposal.created_height,
        "created_ms": proposal.created_ms,
        "expires_ms": proposal.expires_ms,
        "closed_height": None if proposal.outcome is None else proposal.outcome.height,
        "votes": [{"member_id": vote.member_id, "height": vote.height, "approve": vote.approve} for vote in proposal.votes],
        "approvals": tally.approvals,
        "rejections": tally.rejections,
        "need": tally.need,
    }


def _planned_call_steps(registry: Registry, call: PlannedCall) -> Steps[Json]:
    """Return a call that is voted on, with its arguments by name where they fit the contract as it is."""
    plain = _as_call(call.contract, call.method, call.args)
    text = yield from text_steps(registry, plain)
    shown = {"contract": call.contract, "method": call.method, "args": None, "raw_args": hex_of(call.args), "text": text}
    try:
        return shown | call_to_json(registry, plain) | {"problem": None}
    except ContractError as failure:
        return shown | {"problem": failure.message}


def _as_call(contract: str, method: str, raw_args: bytes) -> Call:
    """Return a planned call as one of a transaction."""
    return Call(contract, method, as_tuple(decode(raw_args), "arguments", max_items=MAX_ARGS))


def _nominee_view(nominee: Nominee, certificate: bytes | None) -> Json:
    return {
        "public_key": hex_of(nominee.public_key),
        "certificate": None if certificate is None else hex_of(certificate),
        "certificate_sha256": hex_of(nominee.certificate_sha256),
        "p2p_address": nominee.p2p_address,
        "account": format_address(nominee.account),
    }
