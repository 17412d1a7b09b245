"""What can go wrong for a wallet, by what it means for the payment.

UnreachableError         no node answered; nothing was sent (but after its subclass ConnectionLostError it may have been)
InvalidInputError, RejectedError, LimitError ...   a node refused it (the tree of `ledger.errors`, with the node's reason)
OutcomeUnknownError      it was sent and the final answer did not come; ask again with `client.wait`, or send the same bytes
TransactionFailedError   it is final and had no effect but its fee; `error.receipt` says why
TransactionExpiredError  it is final: it never entered a block and never will
"""

from typing import TYPE_CHECKING, Final

from ledger.errors import (
    BadEncodingError,
    BadSignatureError,
    DatacarError,
    InvalidInputError,
    LimitError,
    NotFoundError,
    RejectedError,
    TooLargeError,
    UnavailableError,
)

if TYPE_CHECKING:
    from datacar.receipt import Receipt

__all__ = [
    "BadAnswerError",
    "BadEncodingError",
    "BadProofError",
    "BadSignatureError",
    "CallWouldFailError",
    "ConnectionLostError",
    "DatacarError",
    "InvalidInputError",
    "LimitError",
    "NotFoundError",
    "OutcomeUnknownError",
    "RejectedError",
    "RequestRefusedError",
    "TooLargeError",
    "TransactionExpiredError",
    "TransactionFailedError",
    "UnavailableError",
    "UnreachableError",
    "error_from_json",
    "may_have_arrived",
]


class UnreachableError(UnavailableError):
    """No node answered at any of the given addresses; the request had no effect."""

    def __init__(
        self, message: str, *, hint: str = "is the node running, and is this its RPC address?", **details: object
    ) -> None:
        super().__init__("unreachable", message, hint=hint, **details)


class ConnectionLostError(UnreachableError):
    """The request went out and no answer came back: it may or may not have had its effect."""


class BadAnswerError(DatacarError):
    """What answered does not speak this protocol."""

    def __init__(self, message: str, **details: object) -> None:
        super().__init__("bad_answer", message, hint="is this the RPC address of a Datacar node?", **details)


class BadProofError(InvalidInputError):
    """A receipt whose proof is missing, or proves something else than the receipt says."""

    def __init__(self, message: str, *, hint: str = "do not trust this receipt: ask another node", **details: object) -> None:
        super().__init__("bad_proof", message, hint=hint, **details)


class RequestRefusedError(DatacarError):
    """The node does not know the method or its parameters; `rpc_code` is the JSON-RPC code (-32700..-32600, or another)."""

    def __init__(self, rpc_code: int, reason: str, message: str, *, hint: str, **details: object) -> None:
        super().__init__(reason, message, hint=hint, **details)
        self.rpc_code = rpc_code


class OutcomeUnknownError(UnavailableError):
    """A transaction was sent and its end is not known yet. It ends by `valid_until_ms`; sending `raw` again is safe."""

    def __init__(self, transaction_id: str, raw: bytes, valid_until_ms: int, cause: str) -> None:
        super().__init__(
            "outcome_unknown",
            f"the outcome of {transaction_id} is not known: {cause}",
            hint=f"ask with `datacar tx wait {transaction_id} --valid-until-ms {valid_until_ms}`; sending the same bytes is safe",
            id=transaction_id,
            valid_until_ms=valid_until_ms,
        )
        self.transaction_id = transaction_id
        self.raw = raw
        self.valid_until_ms = valid_until_ms


class TransactionFailedError(RejectedError):
    """A transaction is final and failed in execution; nothing moved but its fee."""

    def __init__(self, receipt: "Receipt") -> None:
        failure = receipt.error
        where = "" if failure is None else f"{failure.contract} {failure.code}: {failure.message}"
        super().__init__(
            "contract_error",
            f"the transaction failed: {where}",
            hint="nothing moved; correct the cause and send a new transaction",
            id=receipt.id,
            height=receipt.height,
        )
        if failure is not None:
            self.details |= {"contract": failure.contract, "code": failure.code, "message": failure.message}
        self.receipt = receipt


class TransactionExpiredError(RejectedError):
    """A transaction is final: no block took it before its `valid_until_ms`, and none will."""

    def __init__(self, transaction_id: str, valid_until_ms: int) -> None:
        super().__init__(
            "expired",
            f"{transaction_id} expired: no block took it before {valid_until_ms}",
            hint="nothing moved; send a new transaction",
            id=transaction_id,
            valid_until_ms=valid_until_ms,
        )
        self.transaction_id = transaction_id


class CallWouldFailError(RejectedError):
    """A call was simulated and failed, so it was not sent: the contract, its stable code, and a sentence with the numbers."""

    def __init__(self, contract: str, code: str, message: str) -> None:
        super().__init__(
            "contract_error",
            f"the call would fail, nothing was sent: {contract} {code}: {message}",
            hint="correct the cause; the contract's ABI explains the code",
        )
        self.details = {"contract": contract, "code": code, "message": message}


class WrongChainError(InvalidInputError):
    """The node is of another chain than the one that the client was made for: `expected`, `got`."""


_PRE_ACCEPTANCE: Final = frozenset(
    {"unreachable", "syncing", "no_quorum", "expired", "insufficient_funds", "not_permitted", "contract_error", "pool_full"}
    | {"sender_quota", "disk_full", "disk_error"}
)
_REFUSED_UNREAD: Final = frozenset({-32700, -32600, -32601, -32602})

_BY_CODE: Final[dict[int, type[DatacarError]]] = {
    cls.code: cls for cls in (InvalidInputError, NotFoundError, UnavailableError, RejectedError, LimitError)
}


def may_have_arrived(error: DatacarError) -> bool:
    """Return whether a node may have taken a transaction although the answer to it was this error.

    Only what is known to be said before acceptance says that it did not: whatever else went wrong, it may have been afterwards.
    """
    if isinstance(error, RequestRefusedError):
        return error.rpc_code not in _REFUSED_UNREAD
    if isinstance(error, ConnectionLostError | BadAnswerError):
        return True
    return not isinstance(error, InvalidInputError) and error.reason not in _PRE_ACCEPTANCE


def error_from_json(body: object) -> DatacarError:
    """Return the exception of a JSON-RPC `error` object: the class its code stands for, with the node's reason and numbers."""
    if not isinstance(body, dict) or type(body.get("code")) is not int:
        return BadAnswerError("the error object has no code")
    code, message, data = body["code"], str(body.get("message", "")), body.get("data")
    details = dict(data) if isinstance(data, dict) else {}
    reason, hint = str(details.pop("reason", "unknown")), str(details.pop("hint", ""))
    cls = _BY_CODE.get(code)
    if cls is None:
        refused = RequestRefusedError(code, reason, message, hint=hint)
        refused.details = details
        return refused
    error = cls(reason, message, hint=hint)
    error.details = details  # set afterwards: a contract's numbers may be called `message`
    return error
