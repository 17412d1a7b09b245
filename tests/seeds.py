"""Fresh seeds for hostile tests. Each is printed at the end of the run, whether or not anything failed, to run it again."""

import os
import secrets

USED: dict[str, int] = {}


def fresh(name: str) -> int:
    """Return the seed that the environment gives as `<NAME>_SEED`, else one that nobody has tried before."""
    variable = f"{name.upper()}_SEED"
    USED[variable] = int(os.environ.get(variable) or secrets.randbits(31))
    return USED[variable]
