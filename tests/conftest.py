"""Settings of all tests."""

import signal

import pytest
from hypothesis import settings

from tests.seeds import USED

# Examples are timed on machines that are busy with real clusters at the same time: a slow one is no failure. Seeds of failures
# are printed, so that they can be run again.
settings.register_profile("datacar", deadline=None, print_blob=True)
settings.load_profile("datacar")


def pytest_configure() -> None:
    """Have Ctrl-C work: what a shell starts in the background ignores it, and so would all that the tests start and interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which fresh seeds this run tried."""
    if USED:
        seeds = " ".join(f"{name}={seed}" for name, seed in sorted(USED.items()))
        terminalreporter.write_line(f"fresh seeds: {seeds}")
