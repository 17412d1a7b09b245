"""The RPC server over real sockets, and the SDK against it: HTTP, WebSocket, health, limits, lost answers, and a real node."""

import asyncio
import contextlib
import http.client
import json
import socket
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
import pytest

from datacar import AsyncClient, Client, Wallet, errors
from ledger.policy import parse_address
from ledger.transaction import Call
from node.commands.dev_accounts import dev_blueprint
from node.config import load_config
from node.devnet import create
from node.rpc import limits
from tests.memory_node import FAUCET_SEED, MemoryNode
from tests.patience import PATIENCE_MS, PATIENCE_S
from tests.ports import take_ports
from tests.running_node import running_node
from tests.served_node import MAX_BODY, LoopThread, Served, serve

FAUCET: Final = Wallet.from_seed(FAUCET_SEED)
ALICE: Final = Wallet.from_seed(b"a" * 32)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path / "db") as found:
        yield found


def call(method: str, request_id: int | None = 1, **params: Any) -> bytes:
    request = {"jsonrpc": "2.0", "method": method, "params": params}
    return json.dumps(request if request_id is None else request | {"id": request_id}).encode()


# ---- HTTP


def test_requests_batches_and_notifications(served: Served) -> None:
    status, answer = served.rpc(call("chain_info"))
    assert (status, answer["result"]["height"]) == (200, 0)
    status, answers = served.rpc(b"[" + call("chain_info", 5) + b"," + call("chain_info", None) + b",1]")
    assert [item["id"] for item in answers] == [5, None]
    status, nothing = served.rpc(call("chain_info", None))
    assert (status, nothing) == (204, b"")


def test_bad_bodies_get_json_rpc_errors(served: Served) -> None:
    for body, code in ((b"", -32700), (b"{", -32700), (b"[]", -32600), (call("nope"), -32601), (call("tx_get", id=5), -32602)):
        status, answer = served.rpc(body)
        assert (status, answer["error"]["code"]) == (200, code)


def test_oversized_bodies_are_413_with_the_numbers(served: Served) -> None:
    status, headers, answer = served.request("POST", "/rpc", b" " * (MAX_BODY + 1))
    assert (status, answer["error"]["code"], answer["error"]["data"]["reason"]) == (413, -32000, "too_large")
    assert answer["error"]["data"]["limit"] == MAX_BODY
    assert headers["Connection"] == "close"
    status, answer = served.rpc(b" " * (MAX_BODY - len(call("chain_info"))) + call("chain_info"))
    assert status == 200


def test_a_chunked_body_is_bounded_as_it_comes(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=PATIENCE_S) as raw:
        raw.sendall(b"POST /rpc HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        with contextlib.suppress(ConnectionError):
            for _ in range(MAX_BODY // 0x10000 + 1):
                raw.sendall(chunk)
        assert b" 413 " in raw.recv(100)


def test_compressed_requests_are_refused_not_unpacked(served: Served) -> None:
    bomb = zlib.compress(b" " * 10_000_000)
    for encoding in ("deflate", "gzip", "br"):
        status, answer = served.rpc(bomb, Content_Encoding=encoding)
        assert (status, answer["error"]["data"]["reason"]) == (415, "bad_encoding")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "NODE.example"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "evil.example:8645@localhost"}, 403),
        ({"Origin": "https://wallet.example"}, 200),
        ({"Host": "localhost:8645", "Origin": "http://localhost:8645"}, 200),
        ({"Host": "localhost:8645", "Origin": "http://localhost:3000"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_browsers_of_other_sites_are_kept_out(served: Served, headers: dict[str, str], expected: int) -> None:
    status, response_headers, answer = served.request("POST", "/rpc", call("chain_info"), **headers)
    assert status == expected
    assert "Access-Control-Allow-Origin" not in response_headers
    if expected == 403:
        assert answer["error"]["data"]["reason"] == "not_permitted"


def test_health_and_metrics(served: Served) -> None:
    assert served.request("GET", "/livez", Host="any.name")[0] == 200
    status, _, ready = served.request("GET", "/readyz?verbose")
    assert (status, ready) == (200, {"ready": True, "checks": {"quorum": "ok"}})
    assert served.request("GET", "/readyz")[2] == {"ready": True}
    served.rpc(call("chain_info"))
    status, headers, page = served.request("GET", "/metrics")
    text = page.decode()
    assert (status, headers["Content-Type"].split(";")[0]) == (200, "text/plain")
    for line in ("datacar_height 0.0", "datacar_peers 1.0", "datacar_transactions_total 3.0"):
        assert line in text
    assert 'datacar_rpc_requests_total{method="chain_info",outcome="ok"} 1.0' in text
    assert served.request("GET", "/rpc")[0] == 405


def test_a_node_that_is_not_ready_says_why(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    from node.api import Readiness

    monkeypatch.setattr(MemoryNode, "readiness", lambda _node: Readiness(False, {"quorum": "not connected: node2"}))
    status, headers, answer = served.request("GET", "/readyz")
    assert (status, answer["checks"]["quorum"]) == (503, "not connected: node2")
    assert headers["Retry-After"]


def test_too_many_requests_are_429(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CONCURRENT", 0)
    status, headers, answer = served.request("POST", "/rpc", call("chain_info"))
    assert (status, answer["error"]["code"], answer["error"]["data"]["reason"]) == (429, -32005, "rate_limited")
    assert headers["Retry-After"]


# ---- WebSocket


class Payment(NamedTuple):
    """A signed transfer that was not sent."""

    id: str
    raw: str


def payments(served: Served, count: int) -> list[Payment]:
    pay = Call("asset", "transfer", (parse_address(ALICE.address), 1))
    signed = (served.node.sign(FAUCET_SEED, (pay,)) for _ in range(count))
    return [Payment("0x" + item.id.hex(), "0x" + item.raw.hex()) for item in signed]


async def receive(ws: aiohttp.ClientWebSocketResponse, count: int) -> dict[int | None, Any]:
    """Return the next answers by the ids of their requests."""
    answers = [json.loads((await ws.receive(PATIENCE_S)).data) for _ in range(count)]
    return {answer["id"]: answer for answer in answers}


async def test_a_websocket_answers_as_answers_are_ready(served: Served) -> None:
    *raws, awaited = payments(served, 4)
    async with aiohttp.ClientSession() as session, session.ws_connect(served.url + "/ws", max_msg_size=0) as ws:
        await ws.send_bytes(call("tx_wait", 1, id=awaited.id, timeout_ms=PATIENCE_MS))
        await ws.send_str(call("tx_sendBatch", 2, raws=[item.raw for item in raws]).decode())
        await ws.send_str("{")
        answers = await receive(ws, 2)
        assert answers.keys() == {2, None}, "the waiting one does not hold up the others"
        assert [item["status"] for item in answers[2]["result"]] == ["pending"] * 3
        await ws.send_bytes(call("tx_send", 3, raw=awaited.raw))
        assert (await receive(ws, 2))[1]["result"]["status"] == "succeeded"
        await ws.send_bytes(b" " * (MAX_BODY + 1))
        assert (await ws.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
        assert ws.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


async def test_one_websocket_cannot_hold_all_the_waits(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SOCKET_WAITS", 2)
    sent = payments(served, 2)
    async with aiohttp.ClientSession() as session, session.ws_connect(served.url + "/ws") as ws:
        for number, item in enumerate(sent):
            await ws.send_bytes(call("tx_wait", number, id=item.id, timeout_ms=PATIENCE_MS))
        await ws.send_bytes(call("tx_wait", 2, id="0x" + "00" * 32, timeout_ms=PATIENCE_MS))
        refused = (await receive(ws, 1))[2]["error"]["data"]
        assert (refused["reason"], refused["limit"]) == ("wait_timeout", 2)
        await ws.send_bytes(call("tx_sendBatch", 3, raws=[item.raw for item in sent]))
        answers = await receive(ws, 3)
        assert [answers[number]["result"]["status"] for number in range(2)] == ["succeeded"] * 2
        await ws.send_bytes(call("tx_wait", 4, id="0x" + "00" * 32, timeout_ms=1))
        assert json.loads((await ws.receive()).data)["error"]["data"]["timeout_ms"] == 1  # there is room again


async def test_a_websocket_of_another_site_is_refused(served: Served) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await session.ws_connect(served.url + "/ws", origin="https://evil.example")
        assert caught.value.status == 403


# ---- the SDK


def test_the_snippet_of_the_interface(served: Served) -> None:
    with Client(served.url) as client:
        receipt = client.transfer(FAUCET, to=ALICE.address, amount="1.5")
        assert receipt.succeeded
        assert client.balance(ALICE.address).free == 150_000_000
        receipt.verify(client.chain_info().genesis_hash)
        assert client.contract("asset").balance_of(ALICE.address)["free"] == "150000000"
        assert client.contract("asset").transfer(ALICE, to=FAUCET.address, amount="5").events[0].name == "Transferred"
        assert client.wait(receipt.id)["height"] == receipt.height
        assert client.faucet(ALICE.address, amount="2").succeeded
        with pytest.raises(errors.RejectedError, match="needed") as caught:
            client.transfer(ALICE, to=FAUCET.address, amount="100")
        assert caught.value.reason == "insufficient_funds"


async def test_the_asynchronous_client_does_the_same(served: Served) -> None:
    async with AsyncClient(served.url) as client:
        receipts = await asyncio.gather(*(client.transfer(FAUCET, to=ALICE.address, amount_motes=7) for _ in range(5)))
        assert len({receipt.id for receipt in receipts}) == 5
        assert (await client.balance(ALICE.address)).free == 35
        assert (await client.contract("asset").balance_of(address=ALICE.address))["free"] == "35"
        with pytest.raises(errors.RequestRefusedError):
            await client.call("nope")
        receipts[0].verify((await client.chain_info()).genesis_hash)


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """A port that refuses connections, and that nobody else can listen on meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


async def test_a_refused_connection_is_told_at_once(served: Served) -> None:
    with closed_port() as port:
        nobody = f"http://127.0.0.1:{port}"
        begin = time.monotonic()
        with pytest.raises(errors.UnreachableError):
            Client(nobody).transfer(FAUCET, to=ALICE.address, amount="1")
        async with AsyncClient(nobody) as client:
            with pytest.raises(errors.UnreachableError):
                await client.chain_info()
        assert time.monotonic() - begin < Client().timeout_s / 2, "0.02 s on a quiet machine: nothing is waited for"
        with Client([nobody, served.url]) as both:
            assert both.chain_info().chain_id == "memory-1"
        async with AsyncClient([nobody, served.url]) as also:
            assert (await also.chain_info()).chain_id == "memory-1"


@contextlib.contextmanager
def dropping_proxy(target_port: int, drops: int) -> Iterator[str]:
    """A way to the node that passes requests on, and cuts the connection instead of passing back the first `drops` answers."""

    def forward(request: bytes) -> bytes:
        head, _, body = request.partition(b"\r\n\r\n")
        connection = http.client.HTTPConnection("127.0.0.1", target_port, timeout=PATIENCE_S)
        connection.request("POST", "/rpc", body)
        answer = connection.getresponse().read()
        connection.close()
        assert head
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal drops
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                body = await reader.readexactly(length)
                answer = await asyncio.to_thread(forward, head + body)
                if b"tx_send" in body and drops > 0:
                    drops -= 1
                    break
                writer.write(answer)
        writer.close()

    async def enter(stack: contextlib.AsyncExitStack) -> str:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        stack.callback(server.close)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    with LoopThread(enter) as url:
        yield url


def test_a_payment_whose_answer_is_lost_happens_once(served: Served) -> None:
    with dropping_proxy(served.server.port, drops=3) as url, Client(url) as client:
        receipt = client.transfer(FAUCET, to=ALICE.address, amount_motes=7)
        assert receipt.succeeded
        assert client.balance(ALICE.address).free == 7


def test_a_payment_whose_answers_are_all_lost_is_unknown_and_can_be_resumed(served: Served) -> None:
    with (
        dropping_proxy(served.server.port, drops=1_000) as url,
        Client(url) as client,
        pytest.raises(errors.OutcomeUnknownError) as caught,
    ):
        client.transfer(FAUCET, to=ALICE.address, amount_motes=7, timeout_s=0.5)
    with Client(served.url) as direct:
        found = direct.wait(caught.value.transaction_id, valid_until_ms=caught.value.valid_until_ms)
        assert found["status"] == "succeeded"
        assert direct.call("tx_send", raw="0x" + caught.value.raw.hex())["duplicate"] is True
        assert direct.balance(ALICE.address).free == 7


@contextlib.contextmanager
def node_that_dies_of_a_payment() -> Iterator[str]:
    """Answers `chain_info`; takes a `tx_send`, and is gone: its connection closes, and new ones are refused."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                request = json.loads(await reader.readexactly(length))
                if request["method"] == "tx_send":
                    servers[0].close()
                    break
                info = {"chain_id": "x", "genesis_hash": "0x" + "11" * 32, "height": 1, "timestamp_ms": 1_000}
                info |= {"tx_window_ms": 3_600_000, "parameters": {"gas_price_motes": "0", "max_gas_limit": 25_000_000}}
                answer = json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": info}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer))
                writer.write(answer)
        writer.close()

    servers: list[asyncio.Server] = []

    async def enter(stack: contextlib.AsyncExitStack) -> str:
        servers.append(await asyncio.start_server(handle, "127.0.0.1", 0))
        stack.callback(servers[0].close)
        return f"http://127.0.0.1:{servers[0].sockets[0].getsockname()[1]}"

    with LoopThread(enter) as url:
        yield url


async def test_a_node_that_dies_with_a_payment_may_have_passed_it_on() -> None:
    """That it cannot be reached afterwards must not become "nothing was sent": the user would pay twice."""
    with node_that_dies_of_a_payment() as url, Client(url) as client, pytest.raises(errors.OutcomeUnknownError):
        client.transfer(FAUCET, to=ALICE.address, amount_motes=7, timeout_s=0.5)
    with node_that_dies_of_a_payment() as url:
        async with AsyncClient(url) as also:
            with pytest.raises(errors.OutcomeUnknownError):
                await also.transfer(FAUCET, to=ALICE.address, amount_motes=7, timeout_s=0.5)


def test_after_a_lost_answer_another_node_is_asked(served: Served) -> None:
    with node_that_dies_of_a_payment() as url, Client([url, served.url]) as client:
        transaction = served.node.sign(FAUCET_SEED, (Call("asset", "transfer", (parse_address(ALICE.address), 7)),))
        client.chain_info()
        assert client.send(transaction).succeeded


async def test_the_asynchronous_client_survives_lost_answers_too(served: Served) -> None:
    with dropping_proxy(served.server.port, drops=3) as url:
        async with AsyncClient(url) as client:
            assert (await client.transfer(FAUCET, to=ALICE.address, amount_motes=7)).succeeded
            assert (await client.balance(ALICE.address)).free == 7


# ---- a real node


def test_a_real_node_serves_wallets(tmp_path: Path) -> None:
    """One member with its own consensus, disk and sockets: a payment is final, provable, and not lost when it restarts."""
    blueprint, ports = dev_blueprint(1, "rpc test", time.time_ns() // 1_000_000), (take_ports(1), take_ports(1))
    network = create(tmp_path / "net", blueprint, lambda _line: None, ports)
    config = load_config(tmp_path / "net" / network.nodes[0].name / "config.toml")
    payer = Wallet.from_mnemonic(network.accounts[0].mnemonic)
    url = f"http://127.0.0.1:{config.rpc.port}"

    async def enter(stack: contextlib.AsyncExitStack) -> None:
        await stack.enter_async_context(running_node(config))

    with LoopThread(enter), Client(url) as client:
        genesis_hash = client.chain_info().genesis_hash
        receipt = client.transfer(payer, to=ALICE.address, amount="1.5", reference="order 1")
        receipt.verify(genesis_hash)
        assert client.faucet(ALICE.address, amount="1").succeeded
        assert client.balance(ALICE.address).free == 250_000_000
        block = client.call("chain_getBlock", height=receipt.height, full=True)
        assert block["transactions"][receipt.index]["id"] == receipt.id
        assert client.call("consensus_status")["primary"] == network.nodes[0].name
    with LoopThread(enter), Client(url) as client:
        assert client.balance(ALICE.address).free == 250_000_000
        assert client.wait(receipt.id)["receipt"]["status"] == "succeeded"
