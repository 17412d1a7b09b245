"""How long tests wait: a busy machine is many times slower than a quiet one, and only a failure waits to the end."""

from typing import Final

from ledger.parameters import ChainParameters

PATIENCE_S: Final = 60.0
PATIENCE_MS: Final = 60_000
PATIENT: Final = ChainParameters(heartbeat_ms=5_000, base_timeout_ms=10_000, timeout_cap_ms=40_000)
"""A chain for tests that no view changes for the reason they are about: then none does because the machine is busy."""
