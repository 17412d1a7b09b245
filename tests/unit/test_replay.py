"""Reading files of real sessions, sending in batches, and whole replays against a node behind its real RPC server."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from datacar import AsyncClient, Wallet
from datacar.batch import BatchSender
from datacar.errors import (
    ConnectionLostError,
    DatacarError,
    OutcomeUnknownError,
    RejectedError,
    TransactionExpiredError,
    TransactionFailedError,
    UnavailableError,
)
from datacar.replay import Replay, ReplayResult, charging_call
from datacar.sessions_file import BadRowError, BadSessionsFileError, RealSession, Rejected, parse_row, read_sessions
from ledger.errors import BadEncodingError
from ledger.parameters import ChainParameters
from ledger.transaction import Call
from ledger.types import Motes
from node.rpc.server import RpcServer
from tests import time_of_use_bill
from tests.charging_bill import station_motes
from tests.memory_node import FAUCET_SEED, MemoryNode
from tests.served_node import Settings
from vm.contracts.asset import Asset
from vm.contracts.charging import Charging
from vm.pricing import ChargingPeriod
from vm.tariff import BadTariffError, Tariff, parse_tariff

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
SESSIONS = EXAMPLES / "sessions.csv"
TARIFF = EXAMPLES / "tariff.json"
TIME_OF_USE = EXAMPLES / "tariff-time-of-use.json"
ROW = {
    "session_id": "s1",
    "station_id": "A",
    "user_id": "u",
    "connected_at": "1000",
    "charging_done_at": "1600",
    "disconnected_at": "2000",
    "energy_wh": "500",
}
HEADER = ",".join(ROW)


class TestRows:
    def test_a_line_is_a_session(self) -> None:
        assert parse_row(ROW) == RealSession("s1", "A", "u", 1_000, 1_600, 2_000, 500)

    @pytest.mark.parametrize(("done", "end"), [("", 2_000), ("1600", 1_600), ("2000", 2_000), ("2500", 2_000), ("1000", 1_000)])
    def test_charging_ends_when_done_or_when_the_car_leaves(self, done: str, end: int) -> None:
        session = parse_row(ROW | {"charging_done_at": done})
        assert session.charging_end_s == end
        assert session.profile().period() == ChargingPeriod(500, end - 1_000, 2_000 - end)

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("connected_at", ""),
            ("connected_at", "1e3"),
            ("connected_at", "-5"),
            ("connected_at", "٣"),
            ("disconnected_at", "999"),
            ("disconnected_at", "99999999999"),
            ("disconnected_at", None),
            ("charging_done_at", "999"),
            ("charging_done_at", "soon"),
            ("energy_wh", "-1"),
            ("energy_wh", "1.5"),
            ("energy_wh", "100000001"),
            ("energy_wh", "9" * 5_000),
            ("session_id", ""),
            ("session_id", "x" * 65),
            ("station_id", ""),
            ("station_id", "x" * 49),
        ],
    )
    def test_a_line_that_is_no_session_names_its_column(self, column: str, value: str | None) -> None:
        with pytest.raises(BadRowError) as caught:
            parse_row({**ROW, column: value})
        assert caught.value.details == {"column": column}
        assert len(caught.value.message) < 200


class TestFiles:
    def read(self, tmp_path: Path, content: bytes) -> tuple[list[RealSession], list[Rejected]]:
        path = tmp_path / "sessions.csv"
        path.write_bytes(content)
        return read_sessions(path)

    def test_the_example(self) -> None:
        sessions, rejected = read_sessions(SESSIONS)
        assert (len(sessions), rejected) == (20, [])
        assert sessions[17].user_id == "Kim, Ada"

    def test_bad_and_repeated_lines_are_left_out_by_name(self, tmp_path: Path) -> None:
        lines = [HEADER, "a,A,,1,,2,3", "b,A,,9,,2,3", "a,A,,1,,2,3", "c,A", "", "d,A,,1,,2,3"]
        sessions, rejected = self.read(tmp_path, "\r\n".join(lines).encode())
        assert [session.session_id for session in sessions] == ["a", "d"]
        assert [item.session_id for item in rejected] == ["b", "a", "c"]
        assert rejected[1].reason == "bad_row: session_id stands twice in the file"

    def test_other_columns_and_orders_and_a_byte_order_mark_do_no_harm(self, tmp_path: Path) -> None:
        columns = ["energy_wh", "note", *[name for name in ROW if name != "energy_wh"]]
        content = ",".join(columns) + "\n3,x,a,A,,1,,2\n"
        sessions, _ = self.read(tmp_path, b"\xef\xbb\xbf" + content.encode())
        assert sessions == [RealSession("a", "A", "", 1, 2, 2, 3)]

    @pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\xff\xfe", HEADER.encode() + b'\n"a,A'])
    def test_a_file_of_something_else_is_refused(self, tmp_path: Path, content: bytes) -> None:
        with pytest.raises(BadSessionsFileError):
            self.read(tmp_path, content)


class Network:
    """A node that decides alone, and a client of it."""

    def __init__(self, node: MemoryNode, client: AsyncClient) -> None:
        self.node = node
        self.client = client

    async def replay(self, tariff: Tariff, sessions: list[RealSession], **options: Any) -> ReplayResult:
        return await Replay(self.client, tariff, sessions, **options).run()


async def _serve(path: Path, parameters: ChainParameters | None = None, *, auto: bool = True) -> AsyncIterator[Network]:
    node = MemoryNode(path, parameters=parameters, auto=auto)
    node.step_ms = 1
    server = RpcServer(node, Settings())
    await server.start()
    try:
        async with AsyncClient(f"http://127.0.0.1:{server.port}") as client:
            yield Network(node, client)
    finally:
        await server.stop()
        node.close()


@pytest_asyncio.fixture
async def network(tmp_path: Path) -> AsyncIterator[Network]:
    async for found in _serve(tmp_path / "db"):
        yield found


@pytest_asyncio.fixture
async def network_with_fees(tmp_path: Path) -> AsyncIterator[Network]:
    async for found in _serve(tmp_path / "db", ChainParameters(gas_price_motes=2)):
        yield found


@pytest_asyncio.fixture
async def lazy_network(tmp_path: Path) -> AsyncIterator[Network]:
    """Blocks are made only when the test says so."""
    async for found in _serve(tmp_path / "db", auto=False):
        yield found


def terms(preauthorize: str = "50") -> Tariff:
    return parse_tariff(TARIFF.read_text().replace('"preauthorize_amount": "50"', f'"preauthorize_amount": "{preauthorize}"'))


def earned(result: ReplayResult) -> dict[str, int]:
    return {station_id: item.motes for station_id, item in result.stations.items()}


class TestReplay:
    async def test_every_station_earns_what_an_independent_computation_says(self, network: Network) -> None:
        """Twice on one chain: each run makes accounts of its own."""
        sessions, _ = read_sessions(SESSIONS)
        expected = station_motes(SESSIONS, TARIFF)
        for _ in range(2):
            result = await network.replay(terms(), sessions)
            assert (result.sessions, result.settled, result.rejected) == (20, 20, ())
            assert earned(result) == expected
            assert result.energy_wh == sum(session.energy_wh for session in sessions)
            for item in result.stations.values():
                assert (await network.client.balance(item.address)).free == item.motes

    @pytest.mark.parametrize(("preauthorize", "utc_offset_minutes"), [("50", 540), ("2", -330)])
    async def test_under_a_time_of_use_tariff_too(self, network: Network, preauthorize: str, utc_offset_minutes: int) -> None:
        """With a hold of 2 DATR debts must be reckoned with in local time as well."""
        sessions, _ = read_sessions(SESSIONS)
        tariff = replace(parse_tariff(TIME_OF_USE.read_text()), preauthorize_motes=int(preauthorize) * 10**8)
        result = await network.replay(tariff, sessions, utc_offset_minutes=utc_offset_minutes)
        assert (result.settled, result.rejected) == (20, ())
        assert earned(result) == time_of_use_bill.station_motes(SESSIONS, TIME_OF_USE, utc_offset_minutes)

    async def test_the_printed_form(self, network: Network) -> None:
        sessions, _ = read_sessions(SESSIONS)
        result = await network.replay(terms(), sessions[:2], rejected=[Rejected("x", "bad_row: y")])
        document = json.loads(json.dumps(result.to_json()))
        seconds = document.pop("seconds")
        [station] = document.pop("stations").values()
        assert document == {
            "sessions": 3,
            "settled": 2,
            "rejected": [{"session_id": "x", "reason": "bad_row: y"}],
            "energy_wh": 31_344,
            "total_motes": station["motes"],
        }
        assert station.keys() == {"address", "motes"}
        assert seconds > 0

    async def test_debts_are_paid_so_that_stations_get_their_whole_price(self, network: Network) -> None:
        """With a hold of 2 DATR most sessions cost more than it, some drivers' several times over."""
        sessions, _ = read_sessions(SESSIONS)
        result = await network.replay(terms("2"), sessions)
        assert (result.settled, result.rejected) == (20, ())
        assert earned(result) == station_motes(SESSIONS, TARIFF)

    async def test_where_transactions_cost_fees_everybody_can_pay_them(self, network_with_fees: Network) -> None:
        sessions, _ = read_sessions(SESSIONS)
        result = await network_with_fees.replay(terms("2"), sessions)
        assert (result.settled, result.rejected) == (20, ())
        assert earned(result) == station_motes(SESSIONS, TARIFF)

    async def test_a_session_that_the_chain_refuses_is_rejected_with_its_code(self, network: Network) -> None:
        """An event in the future; the others are played all the same."""
        sessions, _ = read_sessions(SESSIONS)
        future = replace(sessions[0], session_id="late", connected_s=2**35, charging_end_s=2**35, disconnected_s=2**35)
        result = await network.replay(terms(), [future, sessions[1]])
        assert (result.settled, result.energy_wh) == (1, sessions[1].energy_wh)
        [rejected] = result.rejected
        assert (rejected.session_id, rejected.reason.split(":")[0]) == ("late", "EVENT_IN_FUTURE")

    async def test_stopped_in_the_middle_it_ends_what_it_began_and_tells_all_of_it(
        self, network: Network, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The first 10 workers may each end the session they are at, and begin no other."""
        monkeypatch.setattr("datacar.replay.OPEN_SESSIONS", 10)
        example, _ = read_sessions(SESSIONS)
        sessions = [replace(session, session_id=f"{n}-{session.session_id}") for n in range(5) for session in example]
        run = Replay(network.client, terms(), sessions, progress=lambda done, _total: run.stop() if done == 30 else None)
        result = await run.run()
        assert (result.sessions, result.rejected) == (100, ())
        assert 30 <= result.settled < 40
        assert 0 < sum(earned(result).values()) < 5 * sum(station_motes(SESSIONS, TARIFF).values())

    async def test_an_empty_file_is_no_work(self, network: Network) -> None:
        result = await network.replay(terms(), [])
        assert (result.sessions, result.settled, result.stations) == (0, 0, {})

    async def test_a_tariff_must_say_what_is_preauthorized(self, network: Network) -> None:
        for amount in ("0", None):
            tariff = terms(amount) if amount else replace(terms(), preauthorize_motes=None)
            with pytest.raises(BadTariffError, match="preauthorize_amount"):
                await network.replay(tariff, [])


class ScriptedClient(AsyncClient):
    """Answers `tx_sendBatch` as scripted, and every wait with `wait_timeout`."""

    def __init__(self, script: list[Any]) -> None:
        super().__init__()
        self.script = script

    async def call(self, method: str, /, **params: Any) -> Any:
        assert method == "tx_sendBatch"
        assert params["raws"]
        answer = self.script.pop(0)
        if isinstance(answer, DatacarError):
            raise answer
        return answer

    async def wait(self, tx_id: str, *, valid_until_ms: int | None = None, timeout_s: float | None = None) -> Any:
        raise UnavailableError("wait_timeout", "not yet")


class TestBatchSender:
    def signed(self, network: Network, call: Call, seed: bytes = FAUCET_SEED, **options: Any) -> Any:
        return network.node.sign(seed, (call,), **options)

    def transfer(self, motes: int = 1) -> Call:
        return Call("asset", "transfer", (Wallet.from_seed(b"b" * 32).policy.address, motes))

    async def test_each_transaction_gets_its_own_end(self, network: Network) -> None:
        good = [self.signed(network, self.transfer()) for _ in range(600)]
        failing = self.signed(network, charging_call(Charging.pay_debt, b"\x00" * 32, Motes(1)), gas_limit=200_000)
        poor = self.signed(network, charging_call(Asset.transfer, good[0].sender, Motes(5)), seed=b"p" * 32)
        late = self.signed(network, self.transfer(), valid_for_ms=-1)
        async with BatchSender(network.client) as sender:
            ends = await asyncio.gather(*map(sender.send, [*good, failing, poor, late]), return_exceptions=True)
        assert [end.id for end in ends[:600] if not isinstance(end, BaseException)] == ["0x" + item.id.hex() for item in good]
        assert [type(end) for end in ends[600:]] == [TransactionFailedError, RejectedError, RejectedError]
        assert [getattr(end, "reason", "") for end in ends[601:]] == ["insufficient_funds", "expired"]

    async def test_sending_again_what_is_final_answers_the_same(self, network: Network) -> None:
        transaction = self.signed(network, self.transfer())
        async with BatchSender(network.client) as sender:
            assert await sender.send(transaction) == await sender.send(transaction)
        assert (await network.client.balance(Wallet.from_seed(b"b" * 32).address)).free == 1

    async def test_what_enters_no_block_ends_as_expired(self, lazy_network: Network) -> None:
        node = lazy_network.node
        transaction = self.signed(lazy_network, self.transfer(), valid_for_ms=500)
        [submission] = await node.submit([transaction.raw])
        assert submission.error is None
        async with BatchSender(lazy_network.client) as sender:
            sending = asyncio.create_task(sender.send(transaction))
            node.step_ms = 1_000
            node.commit()
            with pytest.raises((TransactionExpiredError, RejectedError)) as caught:
                await sending
        assert caught.value.reason == "expired"

    async def test_without_an_answer_the_outcome_is_unknown_not_lost(self, network: Network) -> None:
        async with AsyncClient("http://127.0.0.1:9") as nowhere, BatchSender(nowhere, give_up_s=0.3) as sender:
            transaction = self.signed(network, self.transfer())
            with pytest.raises(OutcomeUnknownError) as caught:
                await sender.send(transaction)
        assert caught.value.raw == transaction.raw

    async def test_the_answer_about_another_transaction_is_no_outcome(self, network: Network) -> None:
        mine, other = (self.signed(network, self.transfer()) for _ in range(2))
        receipt = {"status": "succeeded", "gas_used": 1, "results": [], "events": [], "error": None}
        answer = {"id": "0x" + other.id.hex(), "status": "succeeded", "height": 1, "index": 0, "receipt": receipt}
        async with ScriptedClient([[answer]]) as client, BatchSender(client) as sender:
            with pytest.raises(OutcomeUnknownError) as caught:
                await sender.send(mine)
        assert caught.value.raw == mine.raw

    @pytest.mark.parametrize(("told", "status"), [("succeeded", "failed"), ("failed", "succeeded")])
    async def test_a_receipt_under_another_status_is_no_outcome(self, network: Network, told: str, status: str) -> None:
        mine = self.signed(network, self.transfer())
        error = {"contract": "asset", "code": "BAD_AMOUNT", "message": "no"} if status == "failed" else None
        receipt = {"status": status, "gas_used": 1, "results": [], "events": [], "error": error}
        answer = {"id": "0x" + mine.id.hex(), "status": told, "height": 1, "index": 0, "receipt": receipt}
        async with ScriptedClient([[answer]]) as client, BatchSender(client) as sender:
            with pytest.raises(OutcomeUnknownError, match="its receipt"):
                await sender.send(mine)

    async def test_once_it_may_have_arrived_a_refusal_is_no_outcome(self, network: Network) -> None:
        mine = self.signed(network, self.transfer())
        tx_id = "0x" + mine.id.hex()
        refused = {"id": tx_id, "error": {"code": -32003, "message": "moved already?", "data": {"reason": "insufficient_funds"}}}
        receipt = {"status": "succeeded", "gas_used": 1, "results": [], "events": [], "error": None}
        ended = {"id": tx_id, "status": "succeeded", "height": 1, "index": 0, "receipt": receipt}
        async with ScriptedClient([ConnectionLostError("lost"), [refused], [ended]]) as client, BatchSender(client) as sender:
            assert (await sender.send(mine)).succeeded

    async def test_arguments_are_checked_before_anything_is_signed(self) -> None:
        with pytest.raises((BadEncodingError, RejectedError)):
            charging_call(Charging.cancel, b"short")
