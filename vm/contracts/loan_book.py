"""The instalments of a loan in the contract's storage, and what they were at the loan's last checkpoints.

An instalment is noted as it was when it first changes after a checkpoint. So a checkpoint itself takes one write, however many
instalments are open, and going back to it as many as have changed since.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from vm.contract import Map
from vm.contracts.loan_types import CHECKPOINTS, Former, KeptRow, Page, Window
from vm.loan.state import Instalment

ROW_GAS: Final = 12_000
"""Changing an instalment, beyond what storage shows of it."""
LOOK_GAS: Final = 5_000
"""Looking at one, or making one what it was."""


class StoredBook:
    """A loan's instalments in the contract's storage. What is written stays here until `save`, so that each is stored once.

    Each is charged for as it comes, since a payment may change any number of them.
    """

    __slots__ = ("_changed", "_charge", "_former", "_loan_id", "_pages", "_rows", "_stored", "window")

    def __init__(
        self,
        rows: Map[tuple[bytes, int], KeptRow],
        pages: Map[tuple[bytes, int, int], Page],
        loan_id: bytes,
        window: Window,
        charge: Callable[[int], None],
    ) -> None:
        self._rows = rows
        self._pages = pages
        self._loan_id = loan_id
        self._charge = charge
        self._stored: dict[int, KeptRow | None] = {}
        self._changed: dict[int, KeptRow | None] = {}
        self._former: list[Former] = []
        self.window = window

    def get(self, number: int, /) -> Instalment | None:
        """Return an instalment, as written last."""
        row = self._row(number)
        return None if row is None else row.instalment

    def __setitem__(self, number: int, instalment: Instalment, /) -> None:
        self._charge(ROW_GAS)
        row, window = self._row(number), self.window.number
        if window and (row is None or row.window != window):
            self._former.append(Former(number, row))
        self._changed[number] = KeptRow(instalment, window)

    def begin(self, day: int) -> Window:
        """Have a checkpoint of what there is now: what changes from now on is noted. Returns the window that it ends."""
        self._note()
        ended, self.window = self.window, Window(self.window.number + 1, day)
        return ended

    def go_back(self, *ended: Window) -> None:
        """Make all instalments what they were when the running window began, or these before it, the last one last."""
        self._note()
        for window in (self.window, *ended):
            for page in range(window.pages):
                for former in self._pages[self._place(window, page)]:
                    self._charge(LOOK_GAS)
                    self._changed[former.number] = former.row
            self.window = replace(window, pages=0)

    def save(self) -> None:
        """Store what was written."""
        self._note()
        for number, row in self._changed.items():
            if number in self._stored and self._stored[number] == row:
                continue
            if row is None:
                del self._rows[self._loan_id, number]
            else:
                self._rows[self._loan_id, number] = row
        self._stored |= self._changed
        self._changed.clear()

    def _row(self, number: int) -> KeptRow | None:
        if number in self._changed:
            return self._changed[number]
        if number not in self._stored:
            self._charge(LOOK_GAS)
            self._stored[number] = self._rows.get((self._loan_id, number), None)
        return self._stored[number]

    def _note(self) -> None:
        """Store what the instalments were that have changed since the last page."""
        if self._former:
            self._pages[self._place(self.window, self.window.pages)] = tuple(self._former)
            self.window = replace(self.window, pages=self.window.pages + 1)
            self._former.clear()

    def _place(self, window: Window, page: int) -> tuple[bytes, int, int]:
        return self._loan_id, window.number % CHECKPOINTS, page
