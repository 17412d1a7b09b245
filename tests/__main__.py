"""`python -m tests`: all tests, those of real processes beside the others, whose output comes first.

The former mostly wait and the latter mostly compute, so side by side they take little longer than the longer half. Not done by
the shell: what that starts in the background ignores Ctrl-C, and so would every process that such a test starts.
"""

import subprocess
import sys
from tempfile import TemporaryFile
from typing import Final

PROCESS_TESTS: Final = ("tests/integration", "tests/crashes")


def main() -> int:
    """Run both halves and return 0 when all passed."""
    pytest = [sys.executable, "-m", "pytest"]
    with TemporaryFile() as output:
        with subprocess.Popen([*pytest, *PROCESS_TESTS], stdout=output, stderr=subprocess.STDOUT) as processes:
            rest = subprocess.run([*pytest, *(f"--ignore={folder}" for folder in PROCESS_TESTS)], check=False)
            code = processes.wait()
        output.seek(0)
        sys.stdout.buffer.write(output.read())
    return rest.returncode or code


if __name__ == "__main__":
    sys.exit(main())
