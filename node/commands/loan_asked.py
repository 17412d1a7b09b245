"""What `datacar loan schedule --loan-id` asks a node: all instalments of a loan, page by page."""

from typing import Final

from datacar import on_demand
from datacar.client import Client
from ledger.errors import RejectedError
from node.commands.connection import expect_object
from node.commands.loan import printed_rows, show_rows
from node.commands.output import print_json, warn
from vm.contracts.loan import NAME, Loan
from vm.errors import CoreError
from vm.loan.schedule import Row
from vm.loan.terms import INSTALMENTS_MAX

PAGE: Final = 60


def show(loan_id: str, first: int, count: int | None, rpc: str, timeout_s: float, *, as_json: bool) -> None:
    """Print a loan's instalments from number `first` on, all of them where no count is given."""
    with Client(rpc, timeout_s) as client:
        found = expect_object(client.call("contract_query", contract=NAME, method=Loan.get.__name__, args=[loan_id]), "loan")
        height, last = found["height"], int(found["value"]["agreement"]["terms"]["instalments"])
        wanted = last if count is None else min(last, first + count - 1)
        rows = _rows(client, loan_id, first, wanted, height)
    shown = printed_rows(rows)
    following = first + len(rows)
    following_or_none = following if following <= wanted else None
    if following_or_none is not None:
        hint = "quote the terms of `datacar loan get` by `datacar loan schedule --principal ...`"
        warn(f"a node counts no further ahead than to instalment {following - 1} of {last}; {hint}")
    if as_json:
        print_json({"loan_id": loan_id, "height": height, **shown, "next": following_or_none})
    else:
        show_rows(shown)


def _rows(client: Client, loan_id: str, first: int, last: int, height: int) -> list[Row]:
    """Return instalments as of one block, as many as a node counts ahead: its work for one answer is bounded."""
    spec = on_demand.default_registry().method(NAME, Loan.schedule.__name__)
    rows: list[Row] = []
    size = PAGE
    while size and first + len(rows) <= last:
        at = first + len(rows)
        args = {"loan_id": loan_id, "first": at, "count": min(size, last - at + 1, INSTALMENTS_MAX)}
        try:
            answer = expect_object(
                client.call("contract_query", contract=NAME, method=spec.name, args=args, height=height), "schedule"
            )
        except RejectedError as error:
            if error.details.get("code") != CoreError.OUT_OF_GAS.name or (size == 1 and not rows):
                raise
            size //= 2
            continue
        rows += spec.returns.decode(on_demand.value_from_json(spec.returns, answer["value"]))
    return rows
