"""What one request, one batch and all of them together may take of a node: memory, time on the event loop, gas."""

import asyncio
import contextlib
import hashlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from datacar.errors import error_from_json, may_have_arrived
from ledger.codec import encode
from ledger.errors import LimitError, TooLargeError, UnavailableError
from ledger.parameters import ChainParameters
from ledger.policy import format_address
from ledger.transaction import Call, Transaction
from ledger.types import Address
from node.rpc import limits, turns
from node.rpc.call_views import call_text
from node.rpc.dispatch import Dispatcher
from node.rpc.room import Room, Share
from tests.memory_node import FAUCET, FAUCET_SEED, MemoryNode
from tests.patience import PATIENCE_MS, PATIENCE_S
from tests.served_node import Served, serve
from vm import gas
from vm.registry import default_registry

BIG_GAS: Final = 20_000_000


def account(number: int) -> Address:
    return Address(b"\0" + hashlib.sha256(b"%d" % number).digest())


def payments(count: int, first: int = 0) -> Call:
    return Call("asset", "transfer_batch", ("DATR", tuple((account(first + number), 1) for number in range(count))))


def batch_of(node: MemoryNode, calls: int = 8, each: int = 60, *more: Call) -> Transaction:
    """Return a transaction of many payments to accounts of their own."""
    return node.sign(FAUCET_SEED, (*(payments(each, each * at) for at in range(calls)), *more), gas_limit=BIG_GAS)


class Rpc:
    """A memory node behind the dispatcher."""

    def __init__(self, node: MemoryNode) -> None:
        self.node = node
        self.dispatcher = Dispatcher(node, default_registry(), max_body_bytes=2**18, observe=lambda _method, _outcome: None)

    async def message(self, *requests: tuple[str, dict[str, Any]]) -> tuple[int, list[Any]]:
        """Return how many bytes the answer to a batch has, and its items."""
        body = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            for number, (method, params) in enumerate(requests)
        ]
        answer = await self.dispatcher.answer(orjson.dumps(body))
        assert answer is not None
        return len(answer), orjson.loads(answer)

    async def one(self, method: str, /, **params: Any) -> Any:
        """Return the answer to one request: its result, or its error's data."""
        _, [answer] = await self.message((method, params))
        return answer["result"] if "result" in answer else answer["error"]["data"]


@pytest.fixture
async def rpc(tmp_path: Path) -> AsyncIterator[Rpc]:
    node = MemoryNode(tmp_path / "db")
    yield Rpc(node)
    node.close()


async def big_block(rpc: Rpc) -> int:
    """Commit a block of many payments and return how many bytes its whole answer has."""
    [submission] = await rpc.node.submit([batch_of(rpc.node).raw])
    assert submission.error is None
    size, _ = await rpc.message(BLOCK)
    return size


BLOCK: Final = ("chain_getBlock", {"height": 1, "full": True})


# ---- memory


async def test_an_answer_to_a_batch_is_bounded_and_says_what_to_do(rpc: Rpc, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes can ask for a hundred blocks. What finds no room is refused; waits and what was sent are told all the same."""
    size = await big_block(rpc)
    monkeypatch.setattr(limits, "MAX_ANSWER_BYTES", 3 * size + size // 2)
    rpc.node.auto = False
    sent, awaited = (rpc.node.sign(FAUCET_SEED, (payments(1, at),)) for at in (1, 2))
    waiting = ("tx_wait", {"id": "0x" + awaited.id.hex(), "timeout_ms": PATIENCE_MS})
    asked = asyncio.create_task(rpc.message(waiting, *[BLOCK] * 20, ("tx_send", {"raw": "0x" + sent.raw.hex()})))
    while rpc.node.status()["mempool"] == {"transactions": 0, "bytes": 0}:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0)
    await rpc.node.submit([awaited.raw])
    rpc.node.commit()
    total, answers = await asked
    assert total < limits.MAX_ANSWER_BYTES + len(answers) * limits.SMALL_BYTES
    assert [answer["id"] for answer in answers] == list(range(22))
    assert ["result" in answer for answer in answers] == [True] + [True] * 3 + [False] * 17 + [True]
    for answer in answers[4:-1]:
        data = answer["error"]["data"]
        assert (answer["error"]["code"], data["reason"], data["limit"]) == (-32000, "too_large", limits.MAX_ANSWER_BYTES)
        assert data["got"] > data["limit"]
        assert "smaller batches" in data["hint"]
    assert rpc.dispatcher.room.held == 0


async def test_one_answer_that_is_too_large_is_given_up_while_it_is_made(rpc: Rpc, monkeypatch: pytest.MonkeyPatch) -> None:
    size = await big_block(rpc)
    monkeypatch.setattr(limits, "MAX_ANSWER_BYTES", size // 2)
    for method, params in (BLOCK, ("tx_list", {"full": True, "limit": 20})):
        error = await rpc.one(method, **params)
        assert (error["reason"], error["limit"], error["got"] > error["limit"]) == ("too_large", size // 2, True)
        assert "without full" in error["hint"]


async def test_what_was_carried_out_is_not_told_to_have_been_refused(rpc: Rpc, monkeypatch: pytest.MonkeyPatch) -> None:
    """`too_large` and `rate_limited` mean elsewhere that nothing was taken: whoever is told so sends anew, and pays twice."""
    transaction = batch_of(rpc.node)
    monkeypatch.setattr(limits, "MAX_ANSWER_BYTES", 20_000)
    error = await rpc.one("tx_send", raw="0x" + transaction.raw.hex(), wait="final")
    assert error["reason"] == "answer_lost"
    assert "was carried out" in error["hint"]
    assert rpc.node.transaction_status(transaction.id).is_final
    new = rpc.node.sign(FAUCET_SEED, (payments(1),))
    with rpc.dispatcher.room.share() as unread:
        unread.keep(bytes(limits.MAX_HELD_BYTES - 20_000))
        monkeypatch.setattr(limits, "MAX_ANSWER_BYTES", 2**24)
        error = await rpc.one("tx_sendBatch", raws=["0x" + each.raw.hex() for each in (new, transaction)])
    assert error["reason"] == "answer_lost"
    assert rpc.node.transaction_status(new.id).is_final
    assert may_have_arrived(error_from_json({"code": UnavailableError.code, "message": "", "data": error}))


async def test_work_that_fails_when_nobody_waits_for_it_holds_up_no_other() -> None:
    begun = asyncio.Event()

    def endless() -> turns.Steps[None]:
        begun.set()
        try:
            while True:
                yield
        finally:
            raise OSError

    work = turns.Turns()
    given_up = asyncio.create_task(work.run(endless()))
    await begun.wait()
    given_up.cancel()
    assert await asyncio.wait_for(work.each([1, 2], str), PATIENCE_S) == ["1", "2"]


async def test_answers_that_nobody_has_read_yet_are_bounded_together(rpc: Rpc, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the bound large answers are refused for the moment, small ones never."""
    size = await big_block(rpc)
    monkeypatch.setattr(limits, "MAX_HELD_BYTES", size + 1_000)
    with rpc.dispatcher.room.share() as unread:
        unread.keep(bytes(2_000))
        error = await rpc.one(*BLOCK[:1], **BLOCK[1])
        assert (error["reason"], error["limit"]) == ("rate_limited", size + 1_000)
        assert (await rpc.one("chain_info"))["height"] == 1
    assert "transactions" in await rpc.one(*BLOCK[:1], **BLOCK[1])


async def test_large_answers_are_made_one_by_one_in_a_batch_and_few_at_a_time_in_all() -> None:
    room, now, most = Room(), 0, 0
    seen: dict[int, int] = {}

    async def make(share: Any, number: int) -> None:
        nonlocal now, most
        async with share.large():
            now, seen[number] = now + 1, seen.get(number, 0) + 1
            most = max(most, now)
            assert seen[number] == 1, "two of one batch at once"
            await asyncio.sleep(0)
            now, seen[number] = now - 1, seen[number] - 1

    shares = [room.share() for _ in range(20)]
    await asyncio.gather(*(make(share, number) for number, share in enumerate(shares) for _ in range(5)))
    assert most == limits.LARGE_AT_ONCE


async def test_once_a_batch_has_no_room_its_other_items_are_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_ANSWER_BYTES", 50_000)
    share = Room().share()
    share.keep(bytes(40_000))
    share.check_open()
    share.check_fits(limits.SMALL_BYTES)
    with pytest.raises(TooLargeError):
        share.check_fits(limits.SMALL_BYTES + 1)
    with pytest.raises(TooLargeError, match="56385 over a limit of 50000") as caught:
        share.check_open()
    assert "not carried out" in caught.value.hint
    with pytest.raises(TooLargeError):
        async with share.large():
            pytest.fail("it was begun")


def _post(body: bytes) -> bytes:
    return b"POST /rpc HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def _frame(body: bytes) -> bytes:
    """Return a masked WebSocket text message after the request that opens one."""
    upgrade = (
        b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    return upgrade + bytes([0x81, 0xFE]) + len(body).to_bytes(2) + bytes(4) + body


@pytest.mark.parametrize("sent", [_post, _frame], ids=["http", "websocket"])
def test_who_does_not_read_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: Callable[[bytes], bytes]) -> None:
    """An answer is held until its reader has it: one who never takes it must not keep that memory."""
    monkeypatch.setattr(limits, "SEND_TIMEOUT_S", 0.5)
    keep, kept = Share.keep, []

    def noting(share: Share, data: bytes) -> bytes:
        kept.append(len(data))
        return keep(share, data)

    monkeypatch.setattr(Share, "keep", noting)
    request = {"jsonrpc": "2.0", "id": 1, "method": "rpc.discover"}
    with serve(tmp_path / "db") as served, socket.socket() as client:
        room = served.server._dispatcher.room
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.settimeout(PATIENCE_S)
        client.connect(("127.0.0.1", served.server.port))
        client.sendall(sent(orjson.dumps([request] * 100)))
        _until(lambda: len(kept) == 100 and room.held == 0)
        assert sum(kept) > 2**22
        assert _read(client) < 2**22, "it was cut off before the end"
        _check_serves(served)


def _read(client: socket.socket) -> int:
    """Return how many bytes there are to the end, or the end of the connection."""
    count = 0
    with contextlib.suppress(ConnectionError):
        while data := client.recv(2**16):
            count += len(data)
    return count


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it does not come to that"
        time.sleep(0.01)


def _check_serves(served: Served) -> None:
    status, answer = served.rpc(b'{"jsonrpc": "2.0", "id": 1, "method": "chain_info"}')
    assert (status, answer["result"]["height"]) == (200, 0)


# ---- time


class Rounds:
    """Counts how often the event loop goes round."""

    def __init__(self) -> None:
        self.count = 0

    async def run(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0)


@pytest.fixture
async def rounds(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rounds]:
    """Each step is a turn of its own."""
    monkeypatch.setattr(turns, "TURN_S", 0.0)
    found = Rounds()
    task = asyncio.create_task(found.run())
    yield found
    task.cancel()


async def test_a_large_transaction_is_shown_in_many_turns(rpc: Rpc, rounds: Rounds) -> None:
    """One for each payment, and for each event that it leaves: the longest single piece holds up consensus messages."""
    transaction, paid = batch_of(rpc.node), 8 * 60
    raw = "0x" + transaction.raw.hex()
    for method, params in (
        ("tx_decode", {"raw": raw}),
        ("tx_simulate", {"raw": raw}),
        ("tx_send", {"raw": raw, "wait": "final"}),
        ("tx_get", {"id": "0x" + transaction.id.hex()}),
        ("tx_list", {"full": True}),
        BLOCK,
    ):
        before = rounds.count
        await rpc.one(method, **params)
        assert rounds.count - before >= paid, method


async def test_queries_take_turns_however_many_come_at_once(rpc: Rpc, rounds: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    query = MemoryNode.query

    def noting(*args: Any) -> Any:
        seen.append(rounds.count)
        return query(*args)

    monkeypatch.setattr(MemoryNode, "query", noting)
    ask = ("account_get", {"address": format_address(FAUCET)})
    simulate = (
        "tx_simulate",
        {"call": {"contract": "asset", "method": "burn", "args": ["DATR", "1"]}, "sender": ask[1]["address"]},
    )
    await asyncio.gather(*(rpc.message(ask, simulate) for _ in range(10)))
    assert len(set(seen)) == len(seen) == 10


# ---- gas


async def test_a_refusal_costs_the_node_little(rpc: Rpc) -> None:
    """What shows early is refused with its numbers. What shows late is let in: in the block its sender pays for it."""
    short = Call("asset", "transfer", (account(0), 2**63))
    early = rpc.node.sign(FAUCET_SEED, (short,), gas_limit=BIG_GAS)
    error = await rpc.one("tx_send", raw="0x" + early.raw.hex())
    assert (error["reason"], error["need"]) == ("insufficient_funds", str(2**63))
    late = batch_of(rpc.node, 8, 60, short)
    chain = rpc.node._chain
    context = chain.context(rpc.node.now_ms + 1)
    followed = chain.executor.simulate(chain.store.state, context, late, gas.FUNDS_GAS_LIMIT).receipt
    assert (followed.gas_used, followed.error and followed.error.code) == (gas.FUNDS_GAS_LIMIT, "OUT_OF_GAS")
    chain.executor.check_funds(chain.store.state, context, late)
    answer = await rpc.one("tx_send", raw="0x" + late.raw.hex(), wait="final")
    assert (answer["status"], answer["receipt"]["error"]["code"]) == ("failed", "INSUFFICIENT_FUNDS")


async def test_a_call_is_simulated_with_the_gas_that_a_transaction_may_have(tmp_path: Path) -> None:
    """No more and no less: what succeeds here can be sent."""
    for block_gas, outcome in ((10_000_000, "failed"), (250_000_000, "succeeded")):
        node = MemoryNode(tmp_path / str(block_gas), parameters=ChainParameters(block_max_gas=block_gas))
        rpc, most = Rpc(node), block_gas // 10
        pay = {"symbol": "DATR", "payments": [{"to": format_address(account(at)), "amount": "1"} for at in range(120)]}
        call = {"contract": "asset", "method": "transfer_batch", "args": pay}
        found = await rpc.one("tx_simulate", call=call, sender=format_address(FAUCET))
        signed = await rpc.one("tx_simulate", raw="0x" + node.sign(FAUCET_SEED, (payments(120),), gas_limit=most).raw.hex())
        assert found["outcome"] == signed["outcome"] == outcome
        assert outcome == "succeeded" or (found["gas"], found["error"]["code"]) == (most, "OUT_OF_GAS")
        node.close()


# ---- what people are told


def _planned(contract: str, method: str, *args: Any) -> tuple[tuple[str, str, bytes], ...]:
    return ((contract, method, encode(args)),)


def test_amounts_are_told_in_their_asset() -> None:
    """150 smallest units of EURX are not 0.0000015 DATR. What a hold is of, the call does not say."""
    to, deadline = account(1), 10**12
    short = format_address(to)
    for call, text in (
        (Call("asset", "send", ("EURX", to, 150)), "amount=150 smallest units of EURX)"),
        (Call("asset", "send", ("DATR", to, 150_000_000)), "amount=1.5 DATR)"),
        (Call("asset", "transfer", (to, 150)), "amount=0.0000015 DATR)"),
        (Call("asset", "approve", ("EURX\n", to, 7)), "amount=7 smallest units of EURX\\n)"),
        (Call("asset", "hold_asset_for", ("EURX", to, 9, "rent", deadline)), "amount=9 smallest units of EURX, "),
        (Call("asset", "capture", (b"h" * 32, 150, to)), "amount=150 smallest units of the hold's asset, "),
        (Call("asset", "draw", (b"m" * 32, 150_000_000, to)), "amount=1.5 DATR, "),
        (
            Call("asset", "transfer_batch", ("EURX", ((to, 3), (to, 4)))),
            f"payments=[{{to: {short}, amount: 3 smallest units of EURX}}, {{to: {short}, amount: 4 smallest units of EURX}}])",
        ),
        (Call("asset", "transfer_batch", ("DATR", ((to, 3),))), f"payments=[{{to: {short}, amount: 0.00000003 DATR}}])"),
        (
            Call("governance", "propose_calls", (_planned("asset", "burn", "EURX", 150), "", None)),
            "calls=[asset.burn(symbol=EURX, amount=150 smallest units of EURX)], ",
        ),
        (
            Call("governance", "propose_calls", (_planned("asset", "capture", b"h" * 32, 150, to), "", None)),
            "amount=150 smallest units of the hold's asset, ",
        ),
    ):
        assert text in call_text(default_registry(), call)


def test_text_inside_of_a_value_cannot_pass_for_its_neighbour() -> None:
    share = ((account(1), 5, "x, amount: 9 DATR"),)
    spec = default_registry().method("asset", "pay_rewards")
    shown = call_text(default_registry(), Call("asset", "pay_rewards", (0, share, "p")))
    assert "'x, amount: 9 DATR'" in shown, (shown, spec.params)


def test_the_room_is_counted_until_it_is_left() -> None:
    room = Room()
    with room.share() as first, room.share() as second:
        first.keep(bytes(10))
        second.keep(bytes(5))
        assert room.held == 15
    assert room.held == 0
    with room.share() as share:
        room.held = limits.MAX_HELD_BYTES
        with pytest.raises(LimitError, match="on their way"):
            share.check_fits(limits.SMALL_BYTES + 1)


async def test_short_work_does_not_wait_for_a_turn_of_its_own() -> None:
    """Thousands of small answers a second may be due while the loop goes round a few hundred times."""
    shared = turns.Turns()
    found = Rounds()
    ticking = asyncio.create_task(found.run())
    assert await asyncio.gather(*(shared.each([number], str) for number in range(500))) == [[str(n)] for n in range(500)]
    ticking.cancel()
    assert found.count < 250


async def test_who_gives_up_and_what_fails_take_no_further_turns(rounds: Rounds) -> None:
    shared, steps_taken = turns.Turns(), 0

    def count(_item: int) -> None:
        nonlocal steps_taken
        steps_taken += 1

    def fail(_item: int) -> None:
        raise KeyError("a defect")

    given_up = asyncio.create_task(shared.each(range(10**6), count))
    before = rounds.count
    while rounds.count < before + 20:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(KeyError, match="a defect"):
        await shared.each([1], fail)
    taken = steps_taken
    assert await shared.each([1, 2], str) == ["1", "2"]
    assert 0 < taken == steps_taken
