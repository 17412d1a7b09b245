"""The error tree every package shares: one class for each meaning, one stable word for each reason.

The words and the JSON-RPC codes are the contract of the RPC interface: a wallet branches on `reason`, a person reads the
message and `hint`, and `details` carries the numbers.
"""

from typing import ClassVar, Never


class DatacarError(Exception):
    """Base of every error that a caller may see. `reason` is a stable word, `hint` the next step, `details` the numbers."""

    code: ClassVar[int] = -32603

    def __init__(self, reason: str, message: str, *, hint: str = "", **details: object) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.hint = hint
        self.details = details

    def data(self) -> dict[str, object]:
        """Return what stands in a JSON-RPC error's `data`: reason, hint and the numbers."""
        return {"reason": self.reason, "hint": self.hint, **self.details}


class InvalidInputError(DatacarError):
    """The bytes or values are wrong in themselves: `bad_encoding`, `bad_signature`, `wrong_chain`, `too_large`."""

    code = -32000


class NotFoundError(DatacarError):
    """Nothing is there: `not_found`, `pruned`."""

    code = -32001


class UnavailableError(DatacarError):
    """Not now: `syncing`, `no_quorum`, `wait_timeout`."""

    code = -32002


class RejectedError(DatacarError):
    """Understood and refused: `expired`, `insufficient_funds`, `not_permitted`, `contract_error`."""

    code = -32003


class LimitError(DatacarError):
    """A bound was reached: `pool_full`, `sender_quota`, `rate_limited`."""

    code = -32005


class BadEncodingError(InvalidInputError):
    """Bytes that are not the one canonical encoding of a valid value."""

    def __init__(self, message: str, *, hint: str = "encode it as the protocol's canonical msgpack", **details: object) -> None:
        super().__init__("bad_encoding", message, hint=hint, **details)


class TooLargeError(InvalidInputError):
    """More bytes (or items) than the stated limit."""

    def __init__(self, what: str, *, limit: int, got: int, hint: str = "split it or make it smaller") -> None:
        super().__init__("too_large", f"{what} is too large: {got} over a limit of {limit}", hint=hint, limit=limit, got=got)


class BadSignatureError(InvalidInputError):
    """A signature that does not verify, or too few of them for the key policy."""

    def __init__(
        self, message: str, *, hint: str = "sign the transaction's id with the keys of its policy", **details: object
    ) -> None:
        super().__init__("bad_signature", message, hint=hint, **details)


class InvariantError(RuntimeError):
    """Something that must never be false was false: a defect, never an input error. Not caught anywhere."""


def invariant(condition: object, message: str) -> None:
    """Raise `InvariantError` unless `condition` holds (an `assert` that -O does not remove)."""
    if not condition:
        raise InvariantError(message)


def unreachable(message: str) -> Never:
    """Raise `InvariantError`: control flow came where it never may."""
    raise InvariantError(message)
