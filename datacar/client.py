"""The synchronous client: the flows of `datacar.flows` over HTTP keep-alive connections of the standard library."""

import http.client
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from datacar import flows, rpc, steps
from datacar.arguments import Argument
from datacar.errors import BadAnswerError, ConnectionLostError, DatacarError, UnavailableError, UnreachableError, WrongChainError
from datacar.receipt import Receipt, genesis_hash_of
from datacar.rpc import Json
from datacar.transactions import ChainInfo
from datacar.wallet import Wallet
from ledger.policy import KeyPolicy
from ledger.transaction import Call, Transaction
from vm.gas import DEFAULT_GAS_LIMIT

if TYPE_CHECKING:
    from vm.registry import Registry

T = TypeVar("T")


class Client:
    """Talks to a node, or to the first of several that answers. Not for use by several threads at once: take one each.

    `timeout_s` bounds how long an answer may take, and how long `transfer`, `send` and contract calls wait for the final outcome.
    With `genesis_hash` (32 bytes, or 0x hex) nothing is signed for another chain, whatever a node says: `wrong_chain`.
    """

    def __init__(
        self, urls: str | Sequence[str] = rpc.DEFAULT_URL, timeout_s: float = 30.0, *, genesis_hash: bytes | str | None = None
    ) -> None:
        self._endpoints = rpc.endpoints(urls)
        self._genesis_hash = None if genesis_hash is None else genesis_hash_of(genesis_hash)
        self._connections: list[http.client.HTTPConnection | None] = [None] * len(self._endpoints)
        self._current = 0
        self._last_id = 0
        self._memory = flows.Memory()
        self.timeout_s = timeout_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the next call opens them again."""
        for index in range(len(self._connections)):
            self._drop(index)

    # ---- calls

    def call(self, method: str, /, **params: Json) -> Json:
        """Return the result of a raw RPC call. Raises the error tree of `datacar.errors`."""
        return self.run(flows.call(method, params))

    def chain_info(self) -> ChainInfo:
        """Return the chain's identity, height and time."""
        return self.run(flows.chain_info())

    def balance(self, address: str) -> flows.Balance:
        """Return an account's money, in motes."""
        return self.run(flows.balance(address))

    def transfer(
        self,
        wallet: Wallet,
        *,
        to: str,
        amount: str | Decimal | None = None,
        amount_motes: int | None = None,
        reference: str = "",
        gas_limit: int | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Send DATR and return the receipt when the transfer is final and succeeded.

        Raises `UnreachableError` (nothing sent), `RejectedError` and its like (refused), `TransactionFailedError`,
        `TransactionExpiredError` (final, nothing moved), `OutcomeUnknownError` (may still come).
        """
        motes = flows.motes_of(amount, amount_motes)
        timeout = self._timeout(timeout_s)
        return self.run(flows.transfer(wallet, to, motes, reference=reference, gas_limit=gas_limit, timeout_s=timeout))

    def sign(
        self, wallet: Wallet, calls: Sequence[Call], *, reference: str = "", gas_limit: int = DEFAULT_GAS_LIMIT
    ) -> Transaction:
        """Return a signed transaction of canonical calls for this chain, without sending it."""
        return self.run(flows.sign(wallet, calls, reference=reference, gas_limit=gas_limit))

    def simulate(
        self, policy: KeyPolicy, calls: Sequence[Call], *, gas_limit: int | None = None, registry: "Registry | None" = None
    ) -> flows.Simulation:
        """Return what calls of an account would do now, and the gas limit to send them with. Raises `CallWouldFailError`.

        `registry` has the contracts, where they are not the usual ones.
        """
        return self.run(flows.simulate(policy, calls, gas_limit, registry))

    def send(self, transaction: Transaction, timeout_s: float | None = None) -> Receipt:
        """Send a signed transaction and return its receipt when it is final and succeeded; raises like `transfer`."""
        return self.run(flows.send(transaction, self._timeout(timeout_s)))

    def wait(self, tx_id: str, *, valid_until_ms: int | None = None, timeout_s: float | None = None) -> Json:
        """Return the final `tx_wait` answer for an id. Raises `UnavailableError` `wait_timeout`."""
        return self.run(flows.wait(tx_id, valid_until_ms, self._timeout(timeout_s)))

    def contract(
        self, name: str, *, reference: str = "", gas_limit: int | None = None, timeout_s: float | None = None
    ) -> "ContractClient":
        """Return a contract whose methods are called like Python ones, by its ABI."""
        return ContractClient(self, name, flows.CallOptions(reference, gas_limit, self._timeout(timeout_s)))

    def faucet(
        self,
        address: str,
        *,
        amount: str | Decimal | None = None,
        amount_motes: int | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Have a development network's faucet send money; return the receipt when it is final."""
        return self.run(flows.faucet(address, flows.motes_of(amount, amount_motes), self._timeout(timeout_s)))

    def invoke(self, contract: str, method: str, args: Sequence[Any], named: dict[str, Any], options: flows.CallOptions) -> Any:
        """Run a contract's method; `contract(name)` is the way to write it."""
        return self.run(flows.invoke(self._memory, contract, method, args, named, options))

    def _timeout(self, timeout_s: float | None) -> float:
        return self.timeout_s if timeout_s is None else timeout_s

    # ---- driving flows

    def run(self, flow: steps.Flow[T]) -> T:
        """Carry out a flow's steps and return its result."""
        try:
            step = next(flow)
            while True:
                try:
                    result = self._step(step)
                except DatacarError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(result)
        except StopIteration as end:
            value: T = end.value
            return value

    def _step(self, step: steps.Call | steps.Pause) -> Json:
        if isinstance(step, steps.Pause):
            time.sleep(step.seconds)
            return None
        attempts = rpc.Attempts(len(self._endpoints), self._current, step.method)
        for index in attempts:
            try:
                result = self._ask(index, step)
                flows.check_chain(step, result, self._genesis_hash)
            except (UnavailableError, WrongChainError) as error:
                attempts.failed(error)
            else:
                self._current = index
                return result
        self._current = attempts.following
        raise attempts.error or UnreachableError("there is no endpoint to ask")

    # ---- one exchange

    def _ask(self, index: int, call: steps.Call) -> Json:
        """Ask one endpoint. A kept connection that the node closed meanwhile is replaced once, if asking twice is harmless."""
        self._last_id += 1
        body = rpc.request_bytes(self._last_id, call.method, call.params)
        reused = self._connections[index] is not None
        try:
            status, answer = self._exchange(index, body, call)
        except ConnectionLostError as error:
            if not reused or not rpc.is_repeatable(call.method) or isinstance(error.__cause__, TimeoutError):
                raise
            status, answer = self._exchange(index, body, call)
        return rpc.result_of(self._last_id, answer, status)

    def _exchange(self, index: int, body: bytes, call: steps.Call) -> tuple[int, bytes]:
        """Send a request and return (HTTP status, body). Raises `UnreachableError`, `ConnectionLostError`, `BadAnswerError`."""
        endpoint = self._endpoints[index]
        connection = self._connect(index)
        connection.sock.settimeout(call.wait_s + rpc.WAIT_GRACE_S if call.wait_s else self.timeout_s)
        try:
            connection.request("POST", endpoint.path, body, {"Content-Type": "application/json", "Accept": "application/json"})
            response = connection.getresponse()
            answer = response.read(rpc.MAX_ANSWER_BYTES + 1)
        except http.client.RemoteDisconnected as error:
            raise self._lost(index, error) from error
        except http.client.HTTPException as error:
            self._drop(index)
            raise BadAnswerError(f"{endpoint.url} does not speak HTTP: {type(error).__name__}") from error
        except OSError as error:
            raise self._lost(index, error) from error
        if len(answer) > rpc.MAX_ANSWER_BYTES:
            self._drop(index)
            raise BadAnswerError(f"the answer is over {rpc.MAX_ANSWER_BYTES} bytes", limit=rpc.MAX_ANSWER_BYTES)
        return response.status, answer

    def _connect(self, index: int) -> http.client.HTTPConnection:
        connection = self._connections[index]
        if connection is None or connection.sock is None:
            endpoint = self._endpoints[index]
            make = http.client.HTTPSConnection if endpoint.scheme == "https" else http.client.HTTPConnection
            connection = make(endpoint.host, endpoint.port, timeout=min(rpc.CONNECT_TIMEOUT_S, self.timeout_s))
            try:
                connection.connect()
            except OSError as error:
                raise UnreachableError(f"{endpoint.url} cannot be reached: {error}", url=endpoint.url) from error
            self._connections[index] = connection
        return connection

    def _lost(self, index: int, error: Exception) -> ConnectionLostError:
        self._drop(index)
        url = self._endpoints[index].url
        what = "did not answer in time" if isinstance(error, TimeoutError) else f"closed the connection ({type(error).__name__})"
        return ConnectionLostError(f"{url} {what}", hint="it may have had its effect: ask before doing it anew", url=url)

    def _drop(self, index: int) -> None:
        connection, self._connections[index] = self._connections[index], None
        if connection is not None:
            connection.close()


class ContractClient:
    """A contract by its ABI: `contract.start(wallet, ...)` sends, `contract.get(...)` reads.

    Arguments have their units, `amount="1.5 DATR"`, or are in the JSON forms of the ABI: see `datacar.arguments`.
    """

    def __init__(self, client: Client, name: str, options: flows.CallOptions) -> None:
        self._client = client
        self._name = name
        self._options = options

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("_"):
            raise AttributeError(method)

        def run(*args: Wallet | Argument, **named: Argument) -> Any:
            return self._client.invoke(self._name, method, args, named, self._options)

        return run
