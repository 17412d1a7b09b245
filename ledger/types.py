"""Small names used everywhere, so that a height is never mistaken for a view."""

from typing import NewType

Height = NewType("Height", int)
View = NewType("View", int)
MemberId = NewType("MemberId", str)
Motes = NewType("Motes", int)
Address = NewType("Address", bytes)
BlockHash = NewType("BlockHash", bytes)
TxId = NewType("TxId", bytes)
TxHash = NewType("TxHash", bytes)

MOTES_PER_DATR = 10**8
