"""Wallets that pay through all nodes while these fail: the same bytes again until the outcome is known, and it is remembered."""

import asyncio
import dataclasses
import random
import secrets
import time
from collections.abc import Sequence
from typing import Any, Final

from datacar import AsyncClient, Wallet
from datacar.errors import LimitError, RejectedError, UnavailableError
from ledger.policy import KeyPolicy, parse_address
from ledger.transaction import SALT_BYTES, Call, TransactionBody, chain_tag_of
from vm.gas import DEFAULT_GAS_LIMIT

FINAL: Final = ("succeeded", "failed", "expired")
WAIT_MS: Final = 1_500
VALID_MS: Final = 600_000
SHORT_SHARE: Final = 0.15


@dataclasses.dataclass(slots=True)
class Payment:
    """A signed transfer and what was answered of it: the node's whole final answer, or the word `expired`."""

    id: str
    raw: str
    to: str
    motes: int
    valid_until_ms: int
    tries: int = 0
    answer: dict[str, Any] | None = None
    told_by: int | None = None


class Wallets:
    """Pays from several wallets at once, each payment through random nodes."""

    def __init__(self, urls: Sequence[str], wallets: Sequence[Wallet], genesis_hash: bytes, seed: int) -> None:
        self.payments: list[Payment] = []
        self.payees = [Wallet.generate().address for _ in wallets]
        self._wallets = wallets
        self._genesis_hash = genesis_hash
        self._rng = random.Random(seed)
        self._clients = [AsyncClient(url, timeout_s=2) for url in urls]

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.close()

    @property
    def acknowledged(self) -> list[Payment]:
        """Return the payments whose final outcome a node has told."""
        return [payment for payment in self.payments if payment.answer is not None]

    async def keep_paying(self, over: asyncio.Event, at_once: int) -> None:
        """Pay without pause until it is over, `at_once` payments at a time, and then until every outcome is known."""
        async with asyncio.TaskGroup() as group:
            for number in range(at_once):
                group.create_task(self._pay_on(number % len(self._wallets), over))

    async def _pay_on(self, wallet: int, over: asyncio.Event) -> None:
        while not over.is_set():
            await self.settle(self.sign(wallet))

    def sign(self, wallet: int) -> Payment:
        """Return a new payment; some are valid so briefly that an outage lets them expire."""
        short = self._rng.random() < SHORT_SHARE
        validity_ms = self._rng.randint(500, 5_000) if short else VALID_MS
        payer, to, motes = self._wallets[wallet], self.payees[wallet], self._rng.randint(1, 1_000)
        body = TransactionBody(
            KeyPolicy.single(payer.key.public_key),
            secrets.token_bytes(SALT_BYTES),
            time.time_ns() // 1_000_000 + validity_ms,
            chain_tag_of(self._genesis_hash),
            (Call("asset", "transfer", (parse_address(to), motes)),),
            DEFAULT_GAS_LIMIT,
        )
        signed = body.sign(self._genesis_hash, (payer.key.seed,))
        payment = Payment("0x" + signed.id.hex(), "0x" + signed.raw.hex(), to, motes, body.valid_until_ms)
        self.payments.append(payment)
        return payment

    async def settle(self, payment: Payment, only: int | None = None) -> None:
        """Send to random nodes (or `only` to one) until one tells the outcome. An unexpected refusal is raised."""
        while payment.answer is None:
            node = self._rng.randrange(len(self._clients)) if only is None else only
            payment.tries += 1
            payment.told_by = node
            try:
                answer = await self._clients[node].call("tx_send", raw=payment.raw, wait="final", timeout_ms=WAIT_MS)
                assert answer["status"] in FINAL, answer
                payment.answer = answer
            except RejectedError as error:
                if error.reason != "expired":
                    raise
                payment.answer = {"status": "expired", "height": None, "index": None, "receipt": None}
            except (UnavailableError, LimitError):
                await asyncio.sleep(0.05)
