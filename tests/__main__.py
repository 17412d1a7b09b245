"""`python -m tests`: all tests in parcels, three at a time; the output of one is shown as it comes, the others' when they end.

The tests of real processes mostly wait, and a pytest computes on one core only, so three keep two cores busy. When one ends the
next parcel is begun, so that all end at about the same time, on fast machines and on slow ones. Not done by the shell: what that
starts in the background ignores Ctrl-C, and so would each process that a test starts.
"""

import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, Final

LANES: Final = 3
POLL_S: Final = 0.1
PARCELS: Final = (
    ("tests/integration", "tests/crashes"),
    ("tests/property",),
    ("tests/sim",),
    ("tests/diskfaults", "tests/twins", "tests/determinism"),
)
"""The longest first. The one that is shown is all the rest: mostly the unit tests."""


@dataclass
class Run:
    """A pytest of some folders, and where its output goes; None is the terminal."""

    process: subprocess.Popen[bytes]
    output: IO[bytes] | None

    def show(self) -> None:
        """Print what it said, if that was not seen as it came."""
        if self.output is not None:
            self.output.seek(0)
            sys.stdout.buffer.write(self.output.read())
            sys.stdout.flush()


def main() -> int:
    """Run everything and return 0 when all passed."""
    waiting, codes = [*PARCELS], list[int]()
    with ExitStack() as stack:
        shown = start(stack, [f"--ignore={folder}" for parcel in PARCELS for folder in parcel], None)
        running, ended = [shown], list[Run]()
        while running:
            while waiting and len(running) < LANES:
                running.append(start(stack, waiting.pop(0), stack.enter_context(TemporaryFile())))
            time.sleep(POLL_S)
            for run in [run for run in running if run.process.poll() is not None]:
                running.remove(run)
                ended.append(run)
            while ended and shown not in running:  # two at once could not be read
                ended[0].show()
                codes.append(ended.pop(0).process.wait())
    return max(codes, key=abs)


def start(stack: ExitStack, arguments: list[str] | tuple[str, ...], output: IO[bytes] | None) -> Run:
    """Start a pytest, which is waited for at the end of the context."""
    command = [sys.executable, "-m", "pytest", *arguments]
    return Run(stack.enter_context(subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)), output)


if __name__ == "__main__":
    sys.exit(main())
