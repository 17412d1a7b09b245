"""The asyncio client: the flows of `datacar.flows` over aiohttp. The same methods as `Client`, awaited."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import aiohttp

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


class AsyncClient:
    """Talks to a node, or to the first of several that answers; calls may run at the same time.

    `timeout_s` bounds how long an answer may take, and how long `transfer`, `send` and contract calls wait for the final outcome.
    With `genesis_hash` (32 bytes, or 0x hex) nothing is signed for another chain, whatever a node says: `wrong_chain`.
    """

    def __init__(
        self, urls: str | Sequence[str] = rpc.DEFAULT_URL, timeout_s: float = 30.0, *, genesis_hash: bytes | str | None = None
    ) -> None:
        self._endpoints = rpc.endpoints(urls)
        self._genesis_hash = None if genesis_hash is None else genesis_hash_of(genesis_hash)
        self._session: aiohttp.ClientSession | None = None
        self._current = 0
        self._last_id = 0
        self._memory = flows.Memory()
        self.timeout_s = timeout_s

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; the next call opens them again."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # ---- calls

    async def call(self, method: str, /, **params: Json) -> Json:
        """Return the result of a raw RPC call. Raises the error tree of `datacar.errors`."""
        return await self.run(flows.call(method, params))

    async def chain_info(self) -> ChainInfo:
        """Return the chain's identity, height and time."""
        return await self.run(flows.chain_info())

    async def balance(self, address: str) -> flows.Balance:
        """Return an account's money, in motes."""
        return await self.run(flows.balance(address))

    async def transfer(
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
        """Send DATR and return the receipt when the transfer is final and succeeded; raises like `Client.transfer`."""
        motes = flows.motes_of(amount, amount_motes)
        timeout = self._timeout(timeout_s)
        return await self.run(flows.transfer(wallet, to, motes, reference=reference, gas_limit=gas_limit, timeout_s=timeout))

    async def sign(
        self, wallet: Wallet, calls: Sequence[Call], *, reference: str = "", gas_limit: int = DEFAULT_GAS_LIMIT
    ) -> Transaction:
        """Return a signed transaction of canonical calls for this chain, without sending it."""
        return await self.run(flows.sign(wallet, calls, reference=reference, gas_limit=gas_limit))

    async def simulate(
        self, policy: KeyPolicy, calls: Sequence[Call], *, gas_limit: int | None = None, registry: "Registry | None" = None
    ) -> flows.Simulation:
        """Return what calls of an account would do now, and the gas limit to send them with. Raises `CallWouldFailError`.

        `registry` has the contracts, where they are not the usual ones.
        """
        return await self.run(flows.simulate(policy, calls, gas_limit, registry))

    async def send(self, transaction: Transaction, timeout_s: float | None = None) -> Receipt:
        """Send a signed transaction and return its receipt when it is final and succeeded; raises like `transfer`."""
        return await self.run(flows.send(transaction, self._timeout(timeout_s)))

    async def wait(self, tx_id: str, *, valid_until_ms: int | None = None, timeout_s: float | None = None) -> Json:
        """Return the final `tx_wait` answer for an id. Raises `UnavailableError` `wait_timeout`."""
        return await self.run(flows.wait(tx_id, valid_until_ms, self._timeout(timeout_s)))

    def contract(
        self, name: str, *, reference: str = "", gas_limit: int | None = None, timeout_s: float | None = None
    ) -> "AsyncContractClient":
        """Return a contract whose methods are called like Python ones, by its ABI."""
        return AsyncContractClient(self, name, flows.CallOptions(reference, gas_limit, self._timeout(timeout_s)))

    async def faucet(
        self,
        address: str,
        *,
        amount: str | Decimal | None = None,
        amount_motes: int | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Have a development network's faucet send money; return the receipt when it is final."""
        return await self.run(flows.faucet(address, flows.motes_of(amount, amount_motes), self._timeout(timeout_s)))

    async def invoke(
        self, contract: str, method: str, args: Sequence[Any], named: dict[str, Any], options: flows.CallOptions
    ) -> Any:
        """Run a contract's method; `contract(name)` is the way to write it."""
        return await self.run(flows.invoke(self._memory, contract, method, args, named, options))

    def _timeout(self, timeout_s: float | None) -> float:
        return self.timeout_s if timeout_s is None else timeout_s

    # ---- driving flows

    async def run(self, flow: steps.Flow[T]) -> T:
        """Carry out a flow's steps and return its result."""
        try:
            step = next(flow)
            while True:
                try:
                    result = await self._step(step)
                except DatacarError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(result)
        except StopIteration as end:
            value: T = end.value
            return value

    async def _step(self, step: steps.Call | steps.Pause) -> Json:
        if isinstance(step, steps.Pause):
            await asyncio.sleep(step.seconds)
            return None
        attempts = rpc.Attempts(len(self._endpoints), self._current, step.method)
        for index in attempts:
            try:
                result = await self._ask(index, step)
                flows.check_chain(step, result, self._genesis_hash)
            except (UnavailableError, WrongChainError) as error:
                attempts.failed(error)
            else:
                self._current = index
                return result
        self._current = attempts.following
        raise attempts.error or UnreachableError("there is no endpoint to ask")

    # ---- one exchange

    async def _ask(self, index: int, call: steps.Call) -> Json:
        """Ask one endpoint. A kept connection that the node closed meanwhile is replaced once, if asking twice is harmless."""
        self._last_id += 1
        request_id = self._last_id
        url = self._endpoints[index].url
        body = rpc.request_bytes(request_id, call.method, call.params)
        timeout_s = call.wait_s + rpc.WAIT_GRACE_S if call.wait_s else self.timeout_s
        try:
            status, answer = await self._exchange(url, body, timeout_s)
        except aiohttp.ServerDisconnectedError as error:
            if not rpc.is_repeatable(call.method):
                raise _lost(url, error) from error
            status, answer = await self._exchange_again(url, body, timeout_s)
        return rpc.result_of(request_id, answer, status)

    async def _exchange_again(self, url: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        try:
            return await self._exchange(url, body, timeout_s)
        except aiohttp.ServerDisconnectedError as error:
            raise _lost(url, error) from error

    async def _exchange(self, url: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        """Send a request and return (HTTP status, body). Raises our errors, and `ServerDisconnectedError` as it is."""
        connect_s = min(rpc.CONNECT_TIMEOUT_S, self.timeout_s)
        timeout = aiohttp.ClientTimeout(total=timeout_s + connect_s, sock_connect=connect_s, sock_read=timeout_s)
        try:
            async with self._open().post(url, data=body, timeout=timeout, allow_redirects=False) as response:
                return response.status, await _read(response)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise UnreachableError(f"{url} cannot be reached: {error}", url=url) from error
        except aiohttp.ServerDisconnectedError:
            raise
        except (TimeoutError, OSError, aiohttp.ClientPayloadError) as error:
            raise _lost(url, error) from error
        except aiohttp.ClientError as error:
            raise BadAnswerError(f"{url} does not speak HTTP: {type(error).__name__}") from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(headers={"Content-Type": "application/json", "Accept": "application/json"})
        return self._session


async def _read(response: aiohttp.ClientResponse) -> bytes:
    answer = bytearray()
    async for chunk in response.content.iter_any():
        answer += chunk
        if len(answer) > rpc.MAX_ANSWER_BYTES:
            raise BadAnswerError(f"the answer is over {rpc.MAX_ANSWER_BYTES} bytes", limit=rpc.MAX_ANSWER_BYTES)
    return bytes(answer)


def _lost(url: str, error: Exception) -> ConnectionLostError:
    what = "did not answer in time" if isinstance(error, TimeoutError) else f"closed the connection ({type(error).__name__})"
    return ConnectionLostError(f"{url} {what}", hint="it may have had its effect: ask before doing it anew", url=url)


class AsyncContractClient:
    """A contract by its ABI: `await contract.start(wallet, ...)` sends, `await contract.get(...)` reads.

    Arguments are as those of `ContractClient`.
    """

    def __init__(self, client: AsyncClient, name: str, options: flows.CallOptions) -> None:
        self._client = client
        self._name = name
        self._options = options

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        if method.startswith("_"):
            raise AttributeError(method)

        def run(*args: Wallet | Argument, **named: Argument) -> Awaitable[Any]:
            return self._client.invoke(self._name, method, args, named, self._options)

        return run
