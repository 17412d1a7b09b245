"""JSON-RPC 2.0 as a wallet speaks it, without I/O: requests to bytes, answers to results or exceptions, addresses to URLs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import SplitResult, urlsplit

import orjson

from datacar.errors import BadAnswerError, ConnectionLostError, UnreachableError, WrongChainError, error_from_json
from ledger.errors import BadEncodingError, UnavailableError

Json: TypeAlias = Any
"""A JSON document's value: dict, list, str, int, bool or None."""

DEFAULT_URL: Final = "http://127.0.0.1:8645"
RPC_PATH: Final = "/rpc"
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
CONNECT_TIMEOUT_S: Final = 3.0
WAIT_GRACE_S: Final = 3.0
"""How much longer than the node itself waits a client waits for that answer."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_NOT_REPEATABLE: Final = ("dev_", "admin_", "tx_send")
_ASK_ANOTHER: Final = frozenset({"syncing", "no_quorum", "disk_full", "disk_error"})


class BadUrlError(BadEncodingError):
    """An address that is no RPC URL."""

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(f"{url!r} is no RPC URL: {problem}", hint=f"write it like {DEFAULT_URL}", url=url)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One node's RPC address."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> "Endpoint":
        """Return the endpoint of a URL such as `http://127.0.0.1:8645`; `/rpc` is added where it has no path.

        Raises `BadUrlError`.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise BadUrlError(url, str(error)) from None
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise BadUrlError(url, "it must start with http:// or https:// and name a host")
        if parts.username is not None or parts.query or parts.fragment:
            raise BadUrlError(url, "it must hold no password, query or fragment")
        path = parts.path if parts.path not in ("", "/") else RPC_PATH
        return cls(parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme], path)

    @property
    def url(self) -> str:
        """Return the full URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return SplitResult(self.scheme, f"{host}:{self.port}", self.path, "", "").geturl()


def endpoints(urls: str | Sequence[str]) -> tuple[Endpoint, ...]:
    """Return the endpoints of one URL or several, tried in this order. Raises `BadUrlError`."""
    found = tuple(Endpoint.parse(url) for url in ([urls] if isinstance(urls, str) else urls))
    if not found:
        raise BadUrlError("", "there must be at least one")
    return found


class Attempts:
    """Iterates over the endpoints (by index) to try for one request, from the one that answered last. Report what `failed`.

    A lost answer is tried elsewhere only where that changes nothing; `error` is what to raise when none is left. `following` is
    where the next request begins.
    """

    def __init__(self, count: int, first: int, method: str) -> None:
        self._count = count
        self._left = [(first + step) % count for step in range(count)]
        self.following = first
        self._repeatable = is_repeatable(method)
        self.error: UnavailableError | WrongChainError | None = None

    def __iter__(self) -> Iterator[int]:
        while self._left:
            index = self._left.pop(0)
            self.following = (index + 1) % self._count
            yield index

    def failed(self, error: UnavailableError | WrongChainError) -> None:
        """Note why an endpoint did not serve; raises what another one would answer the same way."""
        lost = isinstance(error, ConnectionLostError)
        if not isinstance(error, UnreachableError | WrongChainError) and error.reason not in _ASK_ANOTHER:
            raise error
        if self.error is None or lost:  # that it may have had its effect outweighs all else
            self.error = error
        if lost and not self._repeatable:
            self._left.clear()


def is_repeatable(method: str) -> bool:
    """Return whether a lost answer may be replaced by that of another attempt, without saying so.

    Not that of the faucet. Nor that of a transaction that was sent: a second attempt that is refused, or reaches nobody, says
    nothing about the first. Whoever sent it must hear that it may have arrived, and sends the same bytes again himself.
    """
    return not method.startswith(_NOT_REPEATABLE)


def request_bytes(request_id: int, method: str, params: Mapping[str, Json]) -> bytes:
    """Return a request. Raises `BadEncodingError` for parameters that JSON-RPC does not carry (floats are never exact money)."""
    _refuse_floats(params)
    try:
        return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})
    except TypeError as error:
        raise BadEncodingError(f"the parameters of {method} are no JSON: {error}", hint="use text, integers, lists") from None


def _refuse_floats(value: Json) -> None:
    if isinstance(value, float):
        raise BadEncodingError(
            f"{value!r} is a float, which is not exact", hint="write amounts as text, other numbers as integers"
        )
    if isinstance(value, Mapping):
        for item in value.values():
            _refuse_floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item)


def result_of(request_id: int, body: bytes, status: int) -> Json:
    """Return the result in an answer. Raises the exception its error stands for, or `BadAnswerError` for no JSON-RPC at all."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadAnswerError(f"the answer (HTTP {status}) is no JSON", http_status=status) from None
    if not isinstance(answer, dict) or answer.get("jsonrpc") != "2.0":
        raise BadAnswerError(f"the answer (HTTP {status}) is no JSON-RPC 2.0", http_status=status)
    if "error" in answer:
        raise error_from_json(answer["error"])
    if answer.get("id") != request_id or "result" not in answer:
        raise BadAnswerError("the answer belongs to another request", expected=request_id)
    return answer["result"]
