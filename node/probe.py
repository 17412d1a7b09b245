"""Asks a node how it is over HTTP, with short timeouts and the standard library only: for supervising, not for wallets."""

import http.client
import json
from dataclasses import dataclass
from typing import Any, Final

from ledger.errors import InvalidInputError, LimitError, RejectedError, UnavailableError

TIMEOUT_S: Final = 2.0
MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024

_REFUSALS: Final = (InvalidInputError.code, RejectedError.code, LimitError.code)


class ProbeError(UnavailableError):
    """The node did not give a usable answer; `unreachable` when nothing listens there."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message, hint="see whether it runs: `datacar devnet status`")


@dataclass(frozen=True, slots=True)
class Readiness:
    """What `/readyz` said: ready or not, and what is wrong in a line."""

    ready: bool
    reason: str


def readiness(host: str, port: int) -> Readiness:
    """Return what `/readyz` of a node says; a node that does not answer is not ready."""
    try:
        status, body = _request(host, port, "GET", "/readyz?verbose", None)
    except ProbeError as error:
        return Readiness(ready=False, reason=error.message)
    return Readiness(status == http.HTTPStatus.OK, "" if status == http.HTTPStatus.OK else _failed_checks(body))


def call(host: str, port: int, *calls: tuple[str, dict[str, Any]], timeout_s: float = TIMEOUT_S) -> tuple[Any, ...]:
    """Return the results of JSON-RPC calls (method, params) made as one batch, in order.

    Raises `RejectedError` with the node's own words when it refuses one of them, `ProbeError` for any other failure.
    """
    batch = [
        {"jsonrpc": "2.0", "id": number, "method": method, "params": params} for number, (method, params) in enumerate(calls)
    ]
    _, body = _request(host, port, "POST", "/rpc", json.dumps(batch).encode(), timeout_s)
    try:
        answers = {answer["id"]: answer for answer in json.loads(body)}
        found = [answers[number] for number in range(len(calls))]
    except (ValueError, TypeError, KeyError) as error:
        raise ProbeError("bad_answer", f"{host}:{port} answered something that is no JSON-RPC: {body[:80]!r}") from error
    return tuple(_result(answer, host, port) for answer in found)


def _result(answer: Any, host: str, port: int) -> Any:
    if "error" not in answer:
        return answer.get("result")
    error = answer["error"]
    data = error.get("data", {})
    reason, message = str(data.get("reason", "bad_answer")), str(error.get("message", "no message"))
    if error.get("code") in _REFUSALS:
        raise RejectedError(reason, message, hint=str(data.get("hint", "")))
    raise ProbeError(reason, f"{host}:{port}: {message}")


def _request(host: str, port: int, method: str, path: str, body: bytes | None, timeout_s: float = TIMEOUT_S) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read(MAX_ANSWER_BYTES)
    except ConnectionRefusedError as error:
        raise ProbeError("unreachable", f"nothing listens on {host}:{port}") from error
    except (OSError, http.client.HTTPException) as error:
        raise ProbeError("unreachable", f"{host}:{port} does not answer: {str(error) or type(error).__name__}") from error
    finally:
        connection.close()


def _failed_checks(body: bytes) -> str:
    """Return the checks that failed, in a line, from the JSON of `/readyz?verbose`."""
    try:
        document = json.loads(body)
        checks = document["checks"]
        failed = [f"{name}: {why}" for name, why in checks.items() if why != "ok"]
    except (ValueError, TypeError, KeyError, AttributeError):
        return body[:200].decode(errors="replace") or "no reason given"
    return "; ".join(failed) or "starting"
