"""Contract runtime: typed ABI, gas, events, atomic calls, and the contracts themselves. Deterministic by construction."""
