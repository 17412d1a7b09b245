"""Annuities against numpy-financial: the instalment, and each month's interest and principal, over random loans."""

from decimal import Decimal

import numpy as np
import numpy_financial
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.types import MOTES_PER_DATR, Motes
from vm.calendar import Day
from vm.loan.schedule import quote
from vm.loan.terms import CENT, Amortization, DayCount, Terms, annuity

CENTS_PER_DATR = MOTES_PER_DATR // CENT


@st.composite
def annuities(draw: st.DrawFn) -> Terms:
    """Loans of up to 1,000,000 DATR at 0.1 % to 60 % over up to 30 years, 30/360, to the cent.

    Each month repays so much that the cents of rounding never use up the principal before the last one.
    """
    count = draw(st.integers(1, 360))
    return Terms(
        principal=Motes(draw(st.integers(10 * count * CENTS_PER_DATR, 10**6 * CENTS_PER_DATR)) * CENT),
        annual_rate=draw(st.integers(100, 60_000)),
        instalments=count,
        disbursed_on=draw(st.integers(0, 30_000)),
        day_count=DayCount.THIRTY_360,
        amortization=Amortization.EQUAL_INSTALMENTS,
    )


def monthly(terms: Terms) -> float:
    """The rate of a month."""
    return terms.annual_rate / 1_200_000


@given(annuities())
@settings(max_examples=100)
def test_the_annuity_is_pmt(terms: Terms) -> None:
    numerator, denominator = annuity(terms.principal, terms.annual_rate, terms.instalments)
    expected = -numpy_financial.pmt(monthly(terms), terms.instalments, float(terms.principal))
    assert float(Decimal(numerator) / Decimal(denominator)) == pytest.approx(expected, rel=1e-9)


@given(annuities())
@settings(max_examples=30)
def test_each_month_is_ipmt_and_ppmt_but_for_the_rounding(terms: Terms) -> None:
    """What is rounded in a month, half a cent of the instalment and half a cent of interest, bears interest in those after it."""
    rate, count = monthly(terms), terms.instalments
    rows = [row.instalment for row in quote(terms, [], Day(terms.disbursed_on)).rows]
    months = np.arange(1.0, count + 1)
    interest = -numpy_financial.ipmt(rate, months, count, float(terms.principal))
    principal = -numpy_financial.ppmt(rate, months, count, float(terms.principal))
    noise = 1e-9 * terms.principal  # of floating point: pmt divides by what is nearly 0 where the rate is small
    off = noise  # how far the balance can be from the exact one, in motes
    for row, exact_interest, exact_principal in zip(rows[:-1], interest, principal, strict=False):
        assert abs(row.interest - exact_interest) <= off * rate + CENT / 2 + noise
        assert abs(row.principal - exact_principal) <= off * rate + CENT + noise
        off += off * rate + CENT + noise
    assert abs(rows[-1].principal - principal[-1]) <= off + noise
    assert sum(row.principal for row in rows) == terms.principal
