"""Loans as pure arithmetic: terms, the running account, the schedule seen from a day. One code for contract and offline quote."""
