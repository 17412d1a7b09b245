"""Calls that are decided on before they are made: by the members' votes, or by the signers of an account."""

from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Final

from ledger.codec import decode, encode_trusted
from ledger.errors import InvalidInputError
from ledger.transaction import MAX_ARGS, MAX_CALLS
from vm.contract import Bounds, Context, require

MAX_CALLS_BYTES: Final = 8 * 1024
"""What one list of calls may have of arguments: it stays in the state until it is decided on, and for ever once it was made."""
CHECK_BYTE_GAS: Final = 300
"""Decoding a byte of arguments, each of which may be a value."""

ContractName = Annotated[str, Bounds(1, 32)]
MethodName = Annotated[str, Bounds(1, 64)]


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call to be made once it is decided on.

    Args:
        args: the canonical bytes of the list of its arguments
    """

    contract: ContractName
    method: MethodName
    args: Annotated[bytes, Bounds(1, MAX_CALLS_BYTES)]


PlannedCalls = Annotated[tuple[PlannedCall, ...], Bounds(1, MAX_CALLS)]


def check_calls(ctx: Context, calls: tuple[PlannedCall, ...], error: StrEnum) -> bytes:
    """Return the SHA-256 of the calls. Fails with `error` where they are too long, or arguments are not a canonical list.

    Whether the contracts take the arguments shows when the calls are made: contracts may change until then.
    """
    size = sum(len(call.args) for call in calls)
    require(size <= MAX_CALLS_BYTES, error, bytes=size, limit=MAX_CALLS_BYTES)
    ctx.charge(CHECK_BYTE_GAS * size)
    for number, call in enumerate(calls, 1):
        require(_are_arguments(call.args), error, call=number, most=MAX_ARGS)
    return sha256(encode_trusted(tuple((call.contract, call.method, call.args) for call in calls))).digest()


def _are_arguments(raw: bytes) -> bool:
    """Return whether the bytes are a list that a call may have. Why not stays unsaid: receipts hold no text of a library."""
    try:
        args = decode(raw)
    except InvalidInputError:
        return False
    return isinstance(args, tuple) and len(args) <= MAX_ARGS
