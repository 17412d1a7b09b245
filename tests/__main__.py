"""`python -m tests`: all tests in three groups side by side; the output of the last one is shown as it comes, before the others'.

The tests of real processes mostly wait, and a pytest computes on one core only, so together they take little longer than the
longest. Not done by the shell: what that starts in the background ignores Ctrl-C, and so would each process that a test starts.
"""

import subprocess
import sys
from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import Final

PROCESSES: Final = ("tests/integration", "tests/crashes")
SEARCHES: Final = ("tests/property", "tests/sim", "tests/twins", "tests/diskfaults", "tests/determinism")
"""What tries many cases, most of it with fresh seeds."""


def main() -> int:
    """Run all groups and return 0 when all passed."""
    pytest = [sys.executable, "-m", "pytest"]
    with ExitStack() as stack:
        running = []
        for folders in (PROCESSES, SEARCHES):
            output = stack.enter_context(TemporaryFile())
            started = subprocess.Popen([*pytest, *folders], stdout=output, stderr=subprocess.STDOUT)
            running.append((stack.enter_context(started), output))
        rest = subprocess.run([*pytest, *(f"--ignore={folder}" for folder in (*PROCESSES, *SEARCHES))], check=False)
        codes = [rest.returncode]
        for process, output in running:
            codes.append(process.wait())
            output.seek(0)
            sys.stdout.buffer.write(output.read())
            sys.stdout.flush()
    return max(codes, key=abs)


if __name__ == "__main__":
    sys.exit(main())
