"""What a client does step by step, without I/O: each flow yields the calls it needs and returns its result.

`Client` and `AsyncClient` drive the same flows: they carry out a `Call` and send its result in, or throw its exception in; a
`Pause` is slept. So both have one behaviour, above all about a payment whose answer was lost.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from datacar import on_demand
from datacar.abi import ContractAbi, check_method, json_args
from datacar.amounts import parse_datr
from datacar.arguments import UnknownTimeError, UnknownUnitError, json_forms
from datacar.asset_units import asset_unit
from datacar.errors import (
    BadAnswerError,
    CallWouldFailError,
    DatacarError,
    OutcomeUnknownError,
    TransactionExpiredError,
    UnavailableError,
    WrongChainError,
    may_have_arrived,
)
from datacar.receipt import Event, Receipt, outcome_of
from datacar.rpc import Json
from datacar.shapes import is_symbol
from datacar.steps import Call, Flow, Pause
from datacar.transactions import ChainInfo, build
from datacar.units import Unit
from datacar.wallet import Wallet
from ledger.codec import encode
from ledger.crypto import SIGNATURE_BYTES
from ledger.errors import BadEncodingError
from ledger.policy import KeyPolicy, format_address, parse_address
from ledger.transaction import Call as ContractCall
from ledger.transaction import Transaction
from ledger.types import Motes
from vm.abi import MethodKind, MethodSpec
from vm.errors import ContractError, CoreError
from vm.gas import DEFAULT_GAS_LIMIT, TRANSACTION_BYTE, intrinsic

if TYPE_CHECKING:
    from vm.registry import Registry

WAIT_SLICE_MS: Final = 5_000
"""How long one request may wait on the node; a longer wait is several of them, so a node that hangs is noticed."""
RETRY_PAUSE_S: Final = 0.25
GAS_MARGIN: Final = (3, 2)
"""A call's gas limit is its simulated gas times this: the state may have grown by the time it runs."""
ENVELOPE_BYTES: Final = 512
"""What a transaction of one key has around its calls, at most."""
SIGNATURE_ENVELOPE_BYTES: Final = 8
"""What a transaction has around each signature, at most."""


@dataclass(slots=True)
class Memory:
    """What a client keeps between calls: the interfaces that nodes gave of contracts, the methods that it has used, and the
    units of assets by symbol.
    """

    abis: dict[str, Json] = field(default_factory=dict)
    methods: dict[tuple[str, str], MethodSpec] = field(default_factory=dict)
    units: dict[str, Unit] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Balance:
    """An account's money in motes at a height: free to spend, reserved by holds, released later."""

    height: int
    free: Motes
    held: Motes
    locked: Motes


def motes_of(amount: str | Decimal | None, amount_motes: int | None) -> Motes:
    """Return the motes of the one amount that was given. Raises `BadAmountError`, or `TypeError` for none or both."""
    if (amount is None) == (amount_motes is None):
        raise TypeError("give either amount (text or Decimal, in DATR) or amount_motes (an integer)")
    if amount is not None:
        return parse_datr(amount)
    if type(amount_motes) is not int or amount_motes < 0:
        raise BadEncodingError(f"amount_motes must be an integer that is not negative, got {amount_motes!r}", hint="count motes")
    return Motes(amount_motes)


def call(method: str, params: Mapping[str, Json]) -> Flow[Json]:
    """Return the result of one call."""
    return (yield Call(method, params))


def chain_info() -> Flow[ChainInfo]:
    """Return the chain's identity and its present time."""
    return ChainInfo.from_json((yield Call("chain_info", {})))


def check_chain(asked: Call, answer: Json, genesis_hash: bytes | None) -> None:
    """Raise `WrongChainError` for a `chain_info` of another chain than the expected one; all that is signed is signed for what it
    says.
    """
    if genesis_hash is None or asked.method != "chain_info":
        return
    if (got := ChainInfo.from_json(answer).genesis_hash) != genesis_hash:
        raise WrongChainError(
            "wrong_chain",
            f"the node is of the chain 0x{got.hex()}, expected is 0x{genesis_hash.hex()}",
            hint="nothing was signed: ask a node of the network that is meant, or correct the expected genesis hash",
            expected="0x" + genesis_hash.hex(),
            got="0x" + got.hex(),
        )


def balance(address: str) -> Flow[Balance]:
    """Return an account's money."""
    answer = yield Call("account_get", {"address": address})
    try:
        value = answer["value"]
        money = (Motes(int(value[name])) for name in ("balance", "held", "locked"))
        return Balance(answer["height"], *money)
    except (KeyError, TypeError, ValueError) as problem:
        raise BadAnswerError(f"account_get lacks something: {problem}") from None


def transfer(wallet: Wallet, to: str, motes: Motes, *, reference: str, gas_limit: int | None, timeout_s: float) -> Flow[Receipt]:
    """Send DATR and return the receipt once it is final."""
    transfer_call = ContractCall("asset", "transfer", (parse_address(to), motes))
    limit = DEFAULT_GAS_LIMIT if gas_limit is None else gas_limit
    transaction = yield from sign(wallet, [transfer_call], reference=reference, gas_limit=limit)
    return (yield from send(transaction, timeout_s))


def sign(wallet: Wallet, calls: Sequence[ContractCall], *, reference: str, gas_limit: int) -> Flow[Transaction]:
    """Return a signed transaction of calls for the chain that the node serves. Nothing is sent."""
    return _signed((yield from chain_info()), wallet, calls, reference=reference, gas_limit=gas_limit)


def _signed(chain: ChainInfo, wallet: Wallet, calls: Sequence[ContractCall], *, reference: str, gas_limit: int) -> Transaction:
    return wallet.sign(build(chain, wallet.policy, calls, gas_limit=gas_limit, reference=reference), chain.genesis_hash)


def send(transaction: Transaction, timeout_s: float) -> Flow[Receipt]:
    """Send a signed transaction and return its receipt; raises how it failed, expired, was refused or is not known."""
    answer = yield from _until_final(transaction, time.monotonic() + timeout_s)
    try:
        receipt = outcome_of(answer, transaction.body.valid_until_ms)
    except BadAnswerError as error:
        raise _unknown(transaction, error.message) from error
    if receipt is None:
        raise _unknown(transaction, f"the node says {answer.get('status')!r}")
    return receipt


def _until_final(transaction: Transaction, deadline: float) -> Flow[Mapping[str, Any]]:
    """Send until a node answers finally. The same bytes are sent again after a lost answer: that is idempotent.

    Once a node may have it, no refusal of a repetition is the outcome, but `expired`, which a committed block proves.
    """
    raw, tx_id = "0x" + transaction.raw.hex(), "0x" + transaction.id.hex()
    began, may_be_sent = time.monotonic(), False
    while True:
        asked, wait_ms = time.monotonic(), _wait_ms(deadline)
        try:
            params = {"raw": raw, "wait": "final", "timeout_ms": wait_ms, "prove": True}
            return _status_object((yield Call("tx_send", params, wait_ms / 1_000)), tx_id)
        except DatacarError as error:
            may_be_sent = may_be_sent or may_have_arrived(error)
            if not may_be_sent:
                raise
            if error.reason == "expired":
                raise TransactionExpiredError(tx_id, transaction.body.valid_until_ms) from error
            if time.monotonic() >= deadline:
                raise _unknown(transaction, _since(began, error).message) from error
            yield from _pause_after(error, asked, wait_ms)


def _pause_after(error: DatacarError, asked: float, wait_ms: int) -> Flow[None]:
    """Pause before asking again, but after a wait on the node that took its time: a node whose waits are full says so at once."""
    if error.reason != "wait_timeout" or time.monotonic() - asked < wait_ms / 1_000:
        yield Pause(RETRY_PAUSE_S)


def _since(began: float, error: DatacarError) -> DatacarError:
    """Return an error that ends a wait for finality; the node knows only how long the last of its parts was."""
    if error.reason != "wait_timeout" or "timeout_ms" not in error.details:
        return error
    waited_ms = int((time.monotonic() - began) * 1_000)
    details = {**error.details, "timeout_ms": waited_ms}
    return UnavailableError(error.reason, f"not final after {waited_ms / 1_000:.1f} s", hint=error.hint, **details)


def _unknown(transaction: Transaction, cause: str) -> OutcomeUnknownError:
    return OutcomeUnknownError("0x" + transaction.id.hex(), transaction.raw, transaction.body.valid_until_ms, cause)


def _wait_ms(deadline: float) -> int:
    return max(0, min(WAIT_SLICE_MS, int((deadline - time.monotonic()) * 1_000)))


def _status_object(answer: Json, tx_id: str) -> Mapping[str, Any]:
    """Return an answer about this transaction. Raises `BadAnswerError` for one about another: it may be genuine and yet a lie."""
    if not isinstance(answer, dict):
        raise BadAnswerError("the answer about a transaction is no object")
    if answer.get("id") != tx_id.lower():
        raise BadAnswerError("the answer is about another transaction", id=tx_id)
    return answer


def wait(tx_id: str, valid_until_ms: int | None, timeout_s: float) -> Flow[Mapping[str, Any]]:
    """Return the final `tx_wait` answer of a transaction. Raises `UnavailableError` `wait_timeout` when it does not come."""
    began = time.monotonic()
    deadline = began + timeout_s
    known = {} if valid_until_ms is None else {"valid_until_ms": valid_until_ms}
    while True:
        asked, wait_ms = time.monotonic(), _wait_ms(deadline)
        try:
            answer = yield Call("tx_wait", {"id": tx_id, "timeout_ms": wait_ms, **known}, wait_ms / 1_000)
            found = _status_object(answer, tx_id)
            if found.get("receipt") is not None:
                Receipt.from_status(found)  # refuses one that ended otherwise than the answer says
            return found
        except UnavailableError as error:
            if error.reason != "wait_timeout" or time.monotonic() >= deadline:
                raise _since(began, error) from None
            yield from _pause_after(error, asked, wait_ms)


def _method_of(memory: Memory, contract: str, name: str) -> Flow[MethodSpec]:
    """Return a method's interface: the one known here, if the node's is no other; of a contract unknown here, the node's.

    Raises `DatacarError` `abi_mismatch`, `ContractError` UNKNOWN_METHOD.
    """
    found = memory.methods.get((contract, name))
    if found is not None:
        return found
    if contract not in memory.abis:
        memory.abis[contract] = yield Call("contract_abi", {"name": contract})
    document, registry = memory.abis[contract], on_demand.default_registry()
    if contract in registry.names():
        check_method(registry.abi(contract), document, name)
        found = registry.method(contract, name)
    else:
        found = ContractAbi.from_json(document).methods.get(name)
    if found is None:
        raise ContractError(CoreError.UNKNOWN_METHOD, method=name).within(contract)
    memory.methods[contract, name] = found
    return found


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How a contract call is sent: its business id, the most gas it may use (None: simulated first), how long to wait."""

    reference: str
    gas_limit: int | None
    timeout_s: float


def invoke(
    memory: Memory, contract: str, method: str, args: Sequence[Any], named: Mapping[str, Any], options: CallOptions
) -> Flow[Any]:
    """Run a contract's method: a read answers its value, a write is signed by the wallet (the first argument) and sent."""
    spec = yield from _method_of(memory, contract, method)
    if spec.kind is MethodKind.READ:
        return (yield from _query(contract, spec, (yield from _forms(memory, spec, json_args(spec, args, named)))))
    if not args or not isinstance(args[0], Wallet):
        raise TypeError(f"{contract}.{method} changes the state: its first argument is the wallet that signs")
    forms = yield from _forms(memory, spec, json_args(spec, args[1:], named))
    return (yield from _write(args[0], contract, spec, forms, options))


def _forms(memory: Memory, spec: MethodSpec, args: Sequence[Any] | Mapping[str, Any]) -> Flow[Json]:
    """Return a program's arguments in JSON forms; the node is asked for what their units need. Raises `BadValueError`."""
    now_ms: int | None = None
    found: dict[str, Unit] = {}  # of one hold or order: they are too many to keep
    while True:
        try:
            return json_forms(spec, args, {**memory.units, **found}, now_ms)
        except UnknownUnitError as needed:
            kept = memory.units if is_symbol(needed.asset) else found
            kept[needed.asset] = yield from asset_unit(needed.asset)
        except UnknownTimeError:
            now_ms = (yield from chain_info()).timestamp_ms


def _query(contract: str, spec: MethodSpec, args: Json) -> Flow[Any]:
    _canonical(contract, spec, args)
    answer = yield Call("contract_query", {"contract": contract, "method": spec.name, "args": args})
    if not isinstance(answer, dict) or "value" not in answer:
        raise BadAnswerError("contract_query answered no value")
    return answer["value"]


def _write(wallet: Wallet, contract: str, spec: MethodSpec, args: Json, options: CallOptions) -> Flow[Receipt]:
    contract_call = _canonical(contract, spec, args)
    chain = yield from chain_info()
    gas_limit = options.gas_limit
    if gas_limit is None:
        gas_limit = yield from _simulated_gas(chain, wallet, contract_call, args)
    transaction = _signed(chain, wallet, [contract_call], reference=options.reference, gas_limit=gas_limit)
    return (yield from send(transaction, options.timeout_s))


def _canonical(contract: str, spec: MethodSpec, args: Json) -> ContractCall:
    """Return the call in canonical form. Raises `ContractError` BAD_ARGUMENTS before the node is asked."""
    try:
        return ContractCall(contract, spec.name, on_demand.args_from_json(spec, args))
    except ContractError as error:
        error.within(contract)
        raise


def _simulated_gas(chain: ChainInfo, wallet: Wallet, contract_call: ContractCall, args: Json) -> Flow[int]:
    """Return a gas limit for a call. Raises `CallWouldFailError` for one that would fail now, before anything is sent."""
    named = {"contract": contract_call.contract, "method": contract_call.method, "args": args}
    used = _used_gas((yield Call("tx_simulate", {"call": named, "sender": wallet.address})))
    size_bytes = len(encode(contract_call.to_value())) + ENVELOPE_BYTES
    return min(_with_margin(used) + intrinsic(size_bytes), chain.max_gas_limit)


@dataclass(frozen=True, slots=True)
class Simulation:
    """What calls would do now: the gas they use, their signatures' included, the gas limit to send them with, and their results
    and events in the ABI's JSON forms. Ids that the calls make come from `tx_id`: once they are sent, they make others.
    """

    gas_used: int
    gas_limit: int
    results: tuple[Any, ...]
    events: tuple[Event, ...]
    tx_id: bytes


def simulate(
    policy: KeyPolicy, calls: Sequence[ContractCall], gas_limit: int | None, registry: "Registry | None"
) -> Flow[Simulation]:
    """Return what a transaction of these calls would do now; without a gas limit, one is found. Nothing is signed or sent.

    Raises `CallWouldFailError`, `RejectedError` `insufficient_funds` for a fee that the account cannot pay.
    """
    chain = yield from chain_info()
    most = max(0, chain.max_gas_limit - _signatures_gas(policy))  # which an unsigned one does not pay for yet
    limit = gas_limit
    if limit is None and chain.gas_price_motes:
        limit = yield from _affordable_gas(chain, policy, calls, registry or on_demand.default_registry())
    body = build(chain, policy, calls, gas_limit=most if limit is None else limit)
    unsigned = Transaction.from_raw(encode((body.to_value(), ())), chain.genesis_hash)
    answer = yield Call("tx_simulate", {"raw": "0x" + unsigned.raw.hex()})
    used = _used_gas(answer) + _signatures_gas(policy)
    try:
        events = tuple(Event(item["contract"], item["name"], item["fields"]) for item in answer["events"])
        limit = min(_with_margin(used), chain.max_gas_limit) if limit is None else limit
        return Simulation(used, limit, tuple(answer["results"]), events, unsigned.id)
    except (KeyError, TypeError) as problem:
        raise BadAnswerError(f"tx_simulate lacks something: {problem}") from None


def _affordable_gas(chain: ChainInfo, policy: KeyPolicy, calls: Sequence[ContractCall], registry: "Registry") -> Flow[int]:
    """Return a gas limit where gas has a price: all of it is set aside while the calls run, so little money allows little.

    Of one call the gas is known without setting anything aside; several may have half of the account's money for theirs.
    """
    address = format_address(policy.address)
    money = yield from balance(address)
    if len(calls) > 1:
        return min(chain.max_gas_limit, money.free // chain.gas_price_motes // 2)
    answer = yield Call("tx_simulate", {"call": on_demand.call_to_json(registry, calls[0]), "sender": address})
    size_bytes = len(encode(build(chain, policy, calls, gas_limit=chain.max_gas_limit).to_value())) + SIGNATURE_ENVELOPE_BYTES
    used = _used_gas(answer) + TRANSACTION_BYTE * size_bytes + _signatures_gas(policy)
    wanted = min(_with_margin(used), chain.max_gas_limit)
    return wanted if wanted * chain.gas_price_motes <= money.free else used


def _used_gas(answer: Json) -> int:
    """Return the gas in an answer of `tx_simulate`. Raises `CallWouldFailError` for calls that would fail now."""
    try:
        failure, used = answer["error"], int(answer["gas"])
        if failure is not None:
            raise CallWouldFailError(failure["contract"], failure["code"], failure["message"])
    except (KeyError, TypeError, ValueError) as problem:
        raise BadAnswerError(f"tx_simulate lacks something: {problem}") from None
    return used


def _with_margin(used: int) -> int:
    times, by = GAS_MARGIN
    return used * times // by


def _signatures_gas(policy: KeyPolicy) -> int:
    return TRANSACTION_BYTE * policy.threshold * (SIGNATURE_BYTES + SIGNATURE_ENVELOPE_BYTES)


def faucet(address: str, motes: Motes, timeout_s: float) -> Flow[Receipt]:
    """Have the development faucet send money; return the receipt once it is final, or raise how it failed or expired."""
    accepted = yield Call("dev_faucet", {"address": address, "amount_motes": str(motes)})
    if not isinstance(accepted, dict) or not isinstance(tx_id := accepted.get("id"), str):
        raise BadAnswerError("dev_faucet answered no transaction's id")
    receipt = outcome_of((yield from wait(tx_id, None, timeout_s)), 0)
    if receipt is None:
        raise BadAnswerError("tx_wait answered no final status", id=tx_id)
    return receipt
