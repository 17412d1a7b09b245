"""`datacar db verify --full` of a chain in which the calendar worked: what it did cost gas that stands in no receipt."""

import pytest

from ledger.block import ReceiptKind
from ledger.codec import encode
from ledger.transaction import Call
from ledger.types import Height
from node.db_replay import replay
from node.db_tools import silent
from node.db_verify import _gas_fits, verify
from tests.ledger_folder import ADDRESSES, FolderNode, LedgerFolder
from tests.orders import ANY_TIME, DAILY, FOREVER, RETRIES, fixed
from vm import gas
from vm.abi import MethodSpec
from vm.calendar import DAY_MS
from vm.executor import DISABLED_WAIT_MS
from vm.registry import default_registry

REGISTRY = default_registry()
ORDERS = 3


def order(method: str) -> MethodSpec:
    return REGISTRY.method("order", method)


def open_order(node: FolderNode, number: int) -> bytes:
    """Open a daily order of the faucet's and return its id."""
    args = (ADDRESSES[number], fixed(100), DAILY, 0, FOREVER, RETRIES, ANY_TIME, f"order {number}")
    sent = node.put(Call("order", "open", order("open").encode_args(args)))
    node.commit()
    receipt = node.transaction_status(sent.id).receipt
    assert receipt is not None
    assert receipt.error is None, receipt.error
    (opened,) = receipt.results
    assert isinstance(opened, bytes)
    return opened


def switch(node: FolderNode, method: str) -> None:
    """Have the only member switch the standing orders off or on."""
    calls = (("governance", method, encode(("order",))),)
    key = node.keys[0].governance_seed
    sent = node.put(Call("governance", "propose_calls", (calls, "", None)), seed=key, gas_limit=2_000_000)
    node.commit()
    receipt = node.transaction_status(sent.id).receipt
    assert receipt is not None
    assert receipt.error is None, receipt.error


def later(node: FolderNode, by_ms: int) -> Height:
    """Commit a block that is stamped so much later and return its height."""
    node.now_ms += by_ms
    node.commit()
    return node.tip.height


def extra(node: FolderNode, height: Height) -> tuple[int, int]:
    """Return how many scheduled receipts a block has, and the gas in its header that stands in no receipt."""
    header, receipts = node.chain.store.header(height), node.chain.store.receipts(height)
    assert header is not None
    assert receipts is not None
    scheduled = [receipt for receipt in receipts if receipt.kind is ReceiptKind.SCHEDULED]
    return len(scheduled), header.gas_used - sum(receipt.gas_used for receipt in receipts)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> LedgerFolder:
    """Blocks in which orders were paid, were put off while their contract was disabled, and were passed over when cancelled."""
    folder = LedgerFolder(tmp_path_factory.mktemp("calendar") / "node")
    with folder.running() as node:
        ids = [open_order(node, number) for number in range(ORDERS)]
        paid = later(node, DAY_MS)
        calls, took = extra(node, paid)
        assert calls == ORDERS
        assert took > ORDERS * gas.SCHEDULED
        switch(node, "disable_contract")
        assert extra(node, node.tip.height) == (0, 0)
        put_off = later(node, DAY_MS)
        calls, took = extra(node, put_off)
        assert calls == 0
        assert took > ORDERS * gas.SCHEDULED
        switch(node, "enable_contract")
        later(node, DISABLED_WAIT_MS)
        for each in ids:
            node.put(Call("order", "cancel", (each,)))
        node.commit()
        passed_over = later(node, 3 * DAY_MS)
        calls, took = extra(node, passed_over)
        assert calls == 0
        assert took > gas.SCHEDULED
        node.reindex()
    return folder


def test_a_ledger_in_which_the_calendar_worked_is_whole(made: LedgerFolder) -> None:
    """Paid, put off and passed over: all of it costs gas beside the receipts, and `--replay` finds the very same."""
    with made.store() as store:
        assert verify(store, made.genesis, REGISTRY, silent, full=True).problems == []
        assert replay(store, made.genesis, REGISTRY, made.data_dir, silent).from_genesis


CASES: list[tuple[str, int, int, bool]] = [
    ("no call was due", 0, 0, True),
    ("passed over or put off", 0, gas.SCHEDULED, True),
    ("less than one place takes", 0, gas.SCHEDULED - 1, False),
    ("less than the receipts", 0, -1, False),
    ("calls that nobody took out of the calendar", 2, 0, False),
    ("one call too few taken out", 2, 2 * gas.SCHEDULED - 1, False),
    ("each call taken out", 2, 2 * gas.SCHEDULED, True),
]


@pytest.mark.parametrize(("calls", "calendar", "fits"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_gas_in_a_header_is_bounded_by_the_receipts(made: LedgerFolder, calls: int, calendar: int, fits: bool) -> None:
    """What cannot be is found without executing anything."""
    with made.store() as store:
        heights = map(Height, range(1, (store.tip_height() or 0) + 1))
        receipts = [each for height in heights for each in store.receipts(height) or ()]
    of_kind = {kind: next(each for each in receipts if each.kind is kind) for kind in ReceiptKind}
    block = [of_kind[ReceiptKind.TRANSACTION], *[of_kind[ReceiptKind.SCHEDULED]] * calls]
    assert _gas_fits(block, sum(each.gas_used for each in block) + calendar) is fits
