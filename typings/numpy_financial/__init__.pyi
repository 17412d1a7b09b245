"""The part of numpy-financial that the tests use as an oracle; amounts paid are negative there, as in a spreadsheet."""

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

_When: TypeAlias = Literal["begin", "end", 0, 1]
_Numbers: TypeAlias = float | NDArray[np.float64]

def pmt(rate: float, nper: float, pv: float, fv: float = 0, when: _When = "end") -> np.float64: ...
def ipmt(rate: float, per: _Numbers, nper: float, pv: float, fv: float = 0, when: _When = "end") -> NDArray[np.float64]: ...
def ppmt(rate: float, per: _Numbers, nper: float, pv: float, fv: float = 0, when: _When = "end") -> NDArray[np.float64]: ...
