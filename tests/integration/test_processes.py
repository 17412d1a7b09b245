"""Four real processes: killed and started again at will, they lose nothing that was acknowledged, and refuse what is wrong."""

import contextlib
import json
import os
import secrets
import socket
import ssl
import statistics
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

import pytest

from datacar import Wallet
from datacar.errors import DatacarError, RejectedError
from genesis.certificates import make_certificate
from ledger.crypto import public_key
from ledger.policy import KeyPolicy, format_address, parse_address
from ledger.transaction import SALT_BYTES, Call, TransactionBody, chain_tag_of
from tests.patience import PATIENCE_S
from tests.processes import Processes, until

pytestmark = pytest.mark.cluster

WRITES = 4 * 4  # before a payment is final: proposal, two votes and the block, by four nodes on one disk
MOST_VIEWS = 3  # one for the death of a primary; more only where the machine is so busy that the next one is too slow as well
LONGEST_STOP_S = 12  # a view more or less: the first three take 1, 2 and 4 s


def balance(network: Processes, node: int, address: str) -> int:
    """Return an account's free motes."""
    return int(network.ask(node, "account_get", address=address)["value"]["balance"])


def fsync_s(folder: Path) -> float:
    """Return how long the disk takes to make a small write last."""
    took_s = []
    with (folder / "written").open("wb") as file:
        for _ in range(9):
            file.write(bytes(4096))
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            took_s.append(time.perf_counter() - began)
    return statistics.median(took_s)


def test_transfer_is_final_quickly_and_seen_by_all(network: Processes, tmp_path: Path) -> None:
    """Within 0.05 s on a quiet machine. Judged by the fastest, as other work only ever adds, and not by the disk's slowness."""
    payer, payee = network.wallets[0], Wallet.generate()
    times, allowed_s = [], 0.5 + WRITES * fsync_s(tmp_path)
    with network.client(1) as client:
        for _ in range(9):
            began = time.perf_counter()
            receipt = client.transfer(payer, to=payee.address, amount="1.5")
            times.append(time.perf_counter() - began)
            assert receipt.succeeded
    until(lambda: all(balance(network, node, payee.address) == 9 * 150_000_000 for node in range(4)))
    assert min(times) < allowed_s


class Load:
    """Keeps transferring through one node, remembers what was acknowledged, until it is told to stop."""

    def __init__(self, network: Processes, node: int, wallet: Wallet) -> None:
        self.to = Wallet.generate().address
        self.acknowledged: list[str] = []
        self.longest_s = 0.0
        self._over = threading.Event()
        self._network, self._node, self._wallet = network, node, wallet
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with self._network.client(self._node) as client:
            while not self._over.is_set():
                began = time.monotonic()
                self.acknowledged.append(client.transfer(self._wallet, to=self.to, amount_motes=1).id)
                self.longest_s = max(self.longest_s, time.monotonic() - began)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()


@pytest.mark.parametrize("victim", ["backup", "primary"])
def test_kill_9_and_start_again_under_load(network: Processes, victim: str) -> None:
    primary = network.primary()
    killed = primary if victim == "primary" else (primary + 1) % 4
    through = (killed + 1) % 4
    view = network.ask(through, "consensus_status")["view"]
    with Load(network, through, network.wallets[1]) as load:
        until(lambda: len(load.acknowledged) >= 10)
        network.kill(killed)
        before = len(load.acknowledged)
        until(lambda: len(load.acknowledged) >= before + 20)
        network.revive()
        before = len(load.acknowledged)
        until(lambda: len(load.acknowledged) >= before + 10)
    assert network.ask(through, "consensus_status")["view"] <= view + MOST_VIEWS
    assert load.longest_s < LONGEST_STOP_S, "the network never stopped for longer than a view change"
    network.assert_one_chain()
    for node in range(4):
        found = network.ask_all(node, [("tx_get", {"id": tx_id}) for tx_id in load.acknowledged])
        assert {answer["status"] for answer in found} == {"succeeded"}
    assert balance(network, killed, load.to) == len(load.acknowledged)


def test_all_killed_at_once_lose_nothing(network: Processes) -> None:
    with network.client(0) as client:
        to = Wallet.generate().address
        ids = [client.transfer(network.wallets[2], to=to, amount_motes=1).id for _ in range(5)]
    for node in range(4):
        network.kill(node)
    network.revive()
    network.assert_one_chain()  # one that had not heard of the last block yet fetches it
    for node in range(4):
        assert all(network.ask(node, "tx_get", id=tx_id)["status"] == "succeeded" for tx_id in ids)
    with network.client(3) as client:
        client.transfer(network.wallets[2], to=to, amount_motes=1)
    network.assert_one_chain()


# ---- bad input: the clear error that the interface names, and nothing else happens


def post(network: Processes, body: bytes) -> tuple[int, Any]:
    """Return HTTP status and JSON of a raw request."""
    request = urllib.request.Request(f"{network.devnet.nodes[0].rpc_url}/rpc", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def call(network: Processes, method: str, **params: object) -> Any:
    return post(network, json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode())[1]


def signed(network: Processes, *calls: Call, chain: bytes | None = None, break_signature: bool = False) -> str:
    """Return a raw transaction of a funded account as 0x hex."""
    info = network.ask(0, "chain_info")
    genesis_hash = chain or bytes.fromhex(info["genesis_hash"][2:])
    seed = network.wallets[3].key.seed
    body = TransactionBody(
        KeyPolicy.single(public_key(seed)),
        secrets.token_bytes(SALT_BYTES),
        time.time_ns() // 1_000_000 + 60_000,
        chain_tag_of(genesis_hash),
        calls,
        100_000,
    )
    raw = body.sign(genesis_hash, (seed,)).raw
    return "0x" + (raw[:-1] + bytes([raw[-1] ^ 1]) if break_signature else raw).hex()


def test_bad_requests_have_their_error_and_change_nothing(network: Processes) -> None:
    somebody = parse_address(network.wallets[4].address)
    pay = Call("asset", "transfer", (somebody, 1))
    _wrong, _too_much = Call("asset", "transfer", (1,)), Call("asset", "transfer", (somebody, 10**16))
    before = balance(network, 0, format_address(somebody))
    table: list[tuple[str, Any, int, str]] = [
        ("malformed JSON", post(network, b'{"jsonrpc": "2.0", ')[1], -32700, ""),
        ("not a request", post(network, b"[1]")[1][0], -32600, ""),
        ("unknown method", call(network, "tx_teleport"), -32601, ""),
        ("wrong type", call(network, "tx_send", raw=7), -32602, ""),
        ("missing parameter", call(network, "tx_send"), -32602, ""),
        ("no transaction", call(network, "tx_send", raw="0x00"), -32000, "bad_encoding"),
        ("wrong chain", call(network, "tx_send", raw=signed(network, pay, chain=bytes(32))), -32000, "wrong_chain"),
        ("bad signature", call(network, "tx_send", raw=signed(network, pay, break_signature=True)), -32000, "bad_signature"),
        ("unknown contract", call(network, "tx_send", raw=signed(network, Call("no", "x", ()))), -32003, "contract_error"),
        (
            "wrong arguments",
            call(network, "tx_send", raw=signed(network, Call("asset", "transfer", (1,)))),
            -32003,
            "contract_error",
        ),
        (
            "unaffordable",
            call(network, "tx_send", raw=signed(network, Call("asset", "transfer", (somebody, 10**16)))),
            -32003,
            "insufficient_funds",
        ),
        ("unknown transaction", call(network, "tx_wait", id="0x" + "00" * 32, timeout_ms=10), -32002, "wait_timeout"),
    ]
    for name, answer, code, reason in table:
        assert answer["error"]["code"] == code, (name, answer)
        assert answer["error"]["data"]["hint"], name
        if reason:
            assert answer["error"]["data"]["reason"] == reason, (name, answer)
    assert balance(network, 0, format_address(somebody)) == before
    assert network.ask(0, "node_status")["mempool"]["transactions"] == 0


def test_numbers_stand_in_the_errors(network: Processes) -> None:
    somebody = parse_address(network.wallets[4].address)
    need = call(network, "tx_send", raw=signed(network, Call("asset", "transfer", (somebody, 10**16))))["error"]["data"]
    assert int(need["need"]) == 10**16
    assert 0 < int(need["have"]) < 10**16
    chain = call(network, "tx_send", raw=signed(network, Call("asset", "transfer", (somebody, 1)), chain=bytes(32)))["error"][
        "data"
    ]
    assert chain["expected"] != chain["got"] == "0x" + "00" * 8
    contract = call(network, "tx_send", raw=signed(network, Call("no", "x", ())))["error"]["data"]
    assert (contract["contract"], contract["code"]) == ("no", "UNKNOWN_CONTRACT")


def test_oversized_body_is_413_with_the_limit(network: Processes) -> None:
    status, answer = post(network, b" " * (2 * 1024 * 1024 + 1))
    assert status == 413
    data = answer["error"]["data"]
    assert (answer["error"]["code"], data["reason"], data["limit"]) == (-32000, "too_large", 2 * 1024 * 1024)


def test_sending_the_same_bytes_again_is_safe(network: Processes) -> None:
    raw = signed(network, Call("asset", "transfer", (parse_address(Wallet.generate().address), 5)))
    first = call(network, "tx_send", raw=raw, wait="final")["result"]
    again = call(network, "tx_send", raw=raw, wait="final")["result"]
    assert (first["status"], first["duplicate"]) == ("succeeded", False)
    assert (again["status"], again["duplicate"], again["id"]) == ("succeeded", True, first["id"])


def test_receipt_is_verified_offline(network: Processes) -> None:
    with network.client(0) as client:
        receipt = client.transfer(network.wallets[5], to=Wallet.generate().address, amount="0.5")
        genesis_hash = client.chain_info().genesis_hash
    receipt.verify(genesis_hash)
    with pytest.raises(DatacarError):
        receipt.verify(bytes(32))


def answer_to_stranger(address: tuple[str, int], context: ssl.SSLContext) -> bytes:
    """Return what the node says to somebody after TLS: nothing, whether it closes or breaks the connection."""
    try:
        with socket.create_connection(address, timeout=PATIENCE_S) as plain, context.wrap_socket(plain) as secure:
            secure.sendall(b"hello")
            return secure.recv(1)
    except (ssl.SSLError, ConnectionError):
        return b""


def test_stranger_on_the_p2p_port_gets_nothing(network: Processes, tmp_path: Path) -> None:
    """A certificate that is not a member's fails the handshake; plain bytes do too; the node goes on and says so."""
    certificate, key = make_certificate(secrets.token_bytes(32), "stranger")
    (tmp_path / "stranger.pem").write_text(ssl.DER_cert_to_PEM_cert(certificate) + key.decode())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(tmp_path / "stranger.pem")
    address = ("127.0.0.1", network.devnet.nodes[0].p2p_port)
    before = network.ask(0, "node_status")["strangers_refused"]
    assert answer_to_stranger(address, context) == b""
    with socket.create_connection(address, timeout=PATIENCE_S) as plain, contextlib.suppress(ConnectionError):
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while plain.recv(1_024):
            pass
    until(lambda: network.ask(0, "node_status")["strangers_refused"] >= before + 2)
    until(lambda: network.ask(0, "node_status")["peers_connected"] == 3)
    with network.client(0) as client:
        assert client.transfer(network.wallets[6], to=Wallet.generate().address, amount_motes=1).succeeded


def test_refusals_of_the_sdk_say_why(network: Processes) -> None:
    with network.client(0) as client, pytest.raises(RejectedError) as caught:
        client.transfer(Wallet.generate(), to=network.wallets[0].address, amount="1")
    assert caught.value.reason == "insufficient_funds"
