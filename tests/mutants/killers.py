"""What may catch a planted bug: tests and seeded runs, each a command of its own, the same every time."""

from dataclasses import dataclass
from typing import Final

BEGUN: Final = "all is imported"
"""What seeded runs print first: a failure before it is none of the protocol's."""
_FAILED: Final = ("FAILED ", "ERROR tests/")


@dataclass(frozen=True, slots=True)
class Killer:
    """A command of the checkout's Python, run in the copy. It passes with status 0; `is_pytest` says how to read the rest."""

    name: str
    arguments: tuple[str, ...]
    is_pytest: bool

    def verdict(self, status: int, output: str) -> str | None:
        """Return what was noticed, or None when nothing was. Raises `BrokenKillerError` when it could not even begin."""
        if status == 0:
            return None
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        if self.is_pytest and status == 1:
            return next((line for line in lines if line.startswith(_FAILED)), "a test failed")
        if not self.is_pytest and BEGUN in lines:
            return lines[-1]
        raise BrokenKillerError(f"{self.name} could not run (status {status}):\n" + "\n".join(lines[-15:]))


class BrokenKillerError(RuntimeError):
    """A killer ended in a way that says nothing about the protocol, such as a module that cannot be imported."""


def _tests(name: str, *selection: str) -> Killer:
    options = ("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"--basetemp=.tmp-{name}", "--hypothesis-seed=0")
    return Killer(name, (*options, *selection), is_pytest=True)


def _seeds(kind: str, count: int) -> Killer:
    return Killer(kind, ("-m", "tests.mutants.seeds", kind, str(count)), is_pytest=False)


_ALL: Final = (
    _tests("replica", "tests/unit/test_replica.py", "-k", "not isolated"),
    _tests("isolation", "tests/unit/test_replica.py", "-k", "isolated"),
    _tests("equivocation", "tests/unit/test_equivocation.py"),
    _tests("membership", "tests/unit/test_membership_rules.py"),
    _tests("watch", "tests/unit/test_primary_watch.py", "-k", "not under_the_timeout and not slow_network"),
    _tests("slow-primary", "tests/unit/test_primary_watch.py", "-k", "under_the_timeout"),
    _tests("slow-network", "tests/unit/test_primary_watch.py", "-k", "slow_network"),
    _tests("scenarios", "tests/unit/test_scenarios.py"),
    _tests("gaps", "tests/unit/test_vote_gaps.py", "tests/unit/test_consensus_gaps.py"),
    _tests("lone", "tests/unit/test_one_member_cannot.py"),
    _tests("floods", "tests/unit/test_floods.py"),
    _tests("blocks", "tests/unit/test_block_gaps.py"),
    _tests("driver", "tests/unit/test_driver_gaps.py"),
    _tests("timers", "tests/unit/test_timers.py"),
    _tests("executor", "tests/unit/test_executor.py"),
    _tests("certificates", "tests/unit/test_certificate.py"),
    _tests("sign-file", "tests/unit/test_storage.py"),
    _tests("members", "tests/unit/test_member_gaps.py"),
    _tests("governance", "tests/unit/test_governance.py"),
    _seeds("faults", 12),
    _seeds("twins", 600),
    _seeds("sim", 40),
)
KILLERS: Final[dict[str, Killer]] = {killer.name: killer for killer in _ALL}
