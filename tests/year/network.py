"""The network of the year: batches of signed transactions, days that pass, and what the blocks say."""

import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from datacar import Wallet
from ledger.policy import parse_address
from ledger.transaction import MAX_CALLS, SALT_BYTES, Call, TransactionBody, chain_tag_of
from node import probe
from node.clock import now_ms
from node.devnet import HOST
from node.devnet_time import move_time, network_time
from tests.processes import Processes
from vm.registry import default_registry

BATCH: Final = 100
TRANSFER_GAS: Final = 100_000
CALL_GAS: Final = 1_000_000
VALID_MS: Final = 1_800_000
PATIENCE_S: Final = 120.0


class YearError(AssertionError):
    """The network did something else than it should."""


@dataclass
class Limits:
    """The largest blocks so far, and what a block may be."""

    max_gas: int
    max_bytes: int
    max_transactions: int
    gas: int = 0
    size_bytes: int = 0
    transactions: int = 0
    blocks: int = 0
    scheduled: int = 0
    view: int = 0
    view_changes: int = 0

    def see(self, block: dict[str, Any]) -> None:
        """Take a block. Raises `YearError` for one over its limits."""
        receipts = block["receipts"]
        self.blocks += 1
        self.view_changes += self.blocks > 1 and block["header"]["view"] != self.view
        self.view = block["header"]["view"]
        self.scheduled += sum(receipt["kind"] == "scheduled" for receipt in receipts)
        self.gas = max(self.gas, block["header"]["gas_used"])
        self.size_bytes = max(self.size_bytes, block["size_bytes"])
        self.transactions = max(self.transactions, len(block["transactions"]))
        if self.gas > self.max_gas or self.size_bytes > self.max_bytes or self.transactions > self.max_transactions:
            raise YearError(f"block {block['height']} is over its limits: {self}")


class Network:
    """Four processes. All money of the accounts here comes from the test accounts."""

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self.height = 0
        info = self.ask("chain_info")
        self._genesis_hash = bytes.fromhex(info["genesis_hash"][2:])
        bounds = info["parameters"]
        self.limits = Limits(bounds["block_max_gas"], bounds["block_max_bytes"], bounds["block_max_transactions"])
        self._offset_ms = 0

    @classmethod
    def started(cls, folder: Path) -> Self:
        """Return a new network in a folder."""
        return cls(Processes(folder))

    def ask(self, method: str, /, **params: object) -> Any:
        """Return what the first node answers."""
        (answer,) = self._ask_many([(method, params)])
        return answer

    def _ask_many(self, calls: Sequence[tuple[str, dict[str, Any]]], node: int = 0) -> Iterator[Any]:
        port = self.processes.devnet.nodes[node].rpc_port
        for start in range(0, len(calls), BATCH):
            yield from probe.call(HOST, port, *calls[start : start + BATCH], timeout_s=PATIENCE_S)

    # ---- time

    def go_to(self, time_ms: int) -> None:
        """Set the network's time ahead to this moment; what falls due until then is done afterwards."""
        by_ms = time_ms - now_ms() - self._offset_ms
        if by_ms <= 0:
            raise YearError(f"a day was too short for its work: {-by_ms} ms late")
        self._offset_ms = move_time(self.processes.devnet, by_ms).offset_ms

    def time_ms(self) -> int:
        """Return the network's time."""
        return network_time(self.processes.devnet).clock_ms

    # ---- transactions

    def sign(self, wallet: Wallet, calls: Sequence[Call], gas: int) -> str:
        """Return a signed transaction as 0x hex."""
        body = TransactionBody(
            wallet.policy,
            secrets.token_bytes(SALT_BYTES),
            now_ms() + self._offset_ms + VALID_MS,
            chain_tag_of(self._genesis_hash),
            tuple(calls),
            gas,
        )
        return "0x" + wallet.sign(body, self._genesis_hash).raw.hex()

    def send_all(self, raws: Sequence[str]) -> list[Any]:
        """Send transactions to all nodes in turn and return their final answers, in order. Raises `YearError` when one fails."""
        ids: list[str] = []
        for number, start in enumerate(range(0, len(raws), BATCH)):
            (answers,) = self._ask_many([("tx_sendBatch", {"raws": raws[start : start + BATCH]})], number % 4)
            if refused := [answer["error"] for answer in answers if "error" in answer]:
                raise YearError(f"refused: {refused[0]}")
            ids += [answer["id"] for answer in answers]
        final, deadline = dict[str, Any](), time.monotonic() + PATIENCE_S
        while left := [tx_id for tx_id in ids if tx_id not in final]:
            if time.monotonic() > deadline:
                raise YearError(f"{len(left)} transactions are not final after {PATIENCE_S:.0f} s")
            for answer in self._ask_many([("tx_get", {"id": tx_id}) for tx_id in left]):
                if answer["status"] in ("failed", "expired"):
                    raise YearError(f"{answer['status']}: {answer}")
                if answer["status"] == "succeeded":
                    final[answer["id"]] = answer
            time.sleep(0.02)
        return [final[tx_id] for tx_id in ids]

    def fund(self, payer: Wallet, payments: Iterable[tuple[str, int]]) -> None:
        """Pay accounts, several in one transaction."""
        calls = [call("asset", "transfer", parse_address(address), amount) for address, amount in payments if amount]
        groups = [calls[start : start + MAX_CALLS] for start in range(0, len(calls), MAX_CALLS)]
        self.send_all([self.sign(payer, group, TRANSFER_GAS * len(group)) for group in groups])

    # ---- what happened

    def new_events(self) -> Iterator[dict[str, Any]]:
        """Yield the events of the blocks since the last call; every scheduled call must have succeeded."""
        tip = self.ask("chain_info")["height"]
        calls = [("chain_getBlock", {"height": height, "full": True}) for height in range(self.height + 1, tip + 1)]
        self.height = tip
        for start in range(0, len(calls), 2):  # a few at a time: an answer has its limit
            for block in self._ask_many(calls[start : start + 2]):
                self.limits.see(block)
                for receipt in block["receipts"]:
                    if receipt["status"] != "succeeded":
                        raise YearError(f"a call failed in block {block['height']}: {receipt}")
                    yield from receipt["events"]

    def transfer_ms(self, payer: Wallet, to: str, count: int) -> list[float]:
        """Return how long transfers take until they are final, one after the other, in ms."""
        taken = []
        with self.processes.client(1) as client:
            client.chain_info()  # the connection
            for _ in range(count):
                began = time.perf_counter()
                client.transfer(payer, to=to, amount_motes=1)
                taken.append((time.perf_counter() - began) * 1_000)
        return taken

    def balances(self, addresses: Sequence[str]) -> dict[str, dict[str, int]]:
        """Return free and held motes of accounts."""
        answers = self._ask_many([("account_get", {"address": address}) for address in addresses])
        return {
            address: {name: int(answer["value"][name]) for name in ("balance", "held")}
            for address, answer in zip(addresses, answers, strict=True)
        }

    def query_all(self, contract: str, method: str, args: Sequence[dict[str, Any]]) -> list[Any]:
        """Return what a read method answers to each of these arguments."""
        calls = [("contract_query", {"contract": contract, "method": method, "args": each}) for each in args]
        return [answer["value"] for answer in self._ask_many(calls)]


def call(contract: str, method: str, *args: Any) -> Call:
    """Return a call in canonical form."""
    return Call(contract, method, default_registry().method(contract, method).encode_args(args))
