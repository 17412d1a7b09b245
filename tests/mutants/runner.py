"""Plants bugs in temporary copies of the checkout and runs their killers there.

A copy holds the sources only. Its bytecode is checked by the sources' hashes, so that a fault planted within the second counts.
"""

import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tests.mutants.killers import KILLERS, Killer
from tests.mutants.mutant import Mutant, MutantError

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("benchmarks", "consensus", "datacar", "genesis", "ledger", "node", "p2p", "tests", "vm")
FILES: Final = ("cli.py", "pyproject.toml")
LEAST_TIMEOUT_S: Final = 60.0
LONGEST_S: Final = 900.0  # for the code without a fault, on a machine that has much else to do
PATIENCE: Final = 8  # a hang is a catch only where the code without the fault takes an eighth of the time


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one planted bug: `killer` and what it said, or None when nothing noticed."""

    name: str
    rule: str
    file: str
    killer: str | None
    what: str
    took_s: float

    def to_json(self) -> dict[str, object]:
        """Return it as plain values."""
        return asdict(self)


class UnsoundError(RuntimeError):
    """The copy or the killers cannot be trusted: verdicts would mean nothing."""


class Copy:
    """A copy of the sources at `source` in a folder of its own. Raises `UnsoundError` unless it imports itself."""

    def __init__(self, source: Path, directory: Path) -> None:
        self.root = directory
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        for name in PACKAGES:
            shutil.copytree(source / name, directory / name, ignore=ignored)
        for name in FILES:
            shutil.copy2(source / name, directory / name)
        compiled = self._run(("-m", "compileall", "-q", "--invalidation-mode", "checked-hash", *PACKAGES), 120.0)
        if compiled.returncode != 0:
            raise UnsoundError(f"the copy does not compile:\n{compiled.stdout}")
        self._prove_imported()

    def _prove_imported(self) -> None:
        """Raise unless the copy's own modules are what its processes import: the checkout is installed, and on their path too."""
        code = f"import {', '.join(PACKAGES)}, sys; print(*(sys.modules[n].__file__ for n in {PACKAGES!r}), sep='\\n')"
        done = self._run(("-c", code), 60.0)
        strangers = [line for line in done.stdout.splitlines() if not Path(line).is_relative_to(self.root)]
        if done.returncode != 0 or strangers:
            raise UnsoundError(f"the copy in {self.root} does not import itself but:\n{done.stdout}")

    @contextmanager
    def planted(self, mutant: Mutant) -> Iterator[None]:
        """Have the fault in the copy within the block."""
        path = self.root / mutant.file
        sound = path.read_text()
        path.write_text(mutant.apply(sound))
        try:
            yield
        finally:
            path.write_text(sound)

    def try_killer(self, killer: Killer, timeout_s: float) -> str | None:
        """Return what a killer noticed, or None. Raises `BrokenKillerError`."""
        try:
            done = self._run(killer.arguments, timeout_s)
        except subprocess.TimeoutExpired:
            return f"it does not come to an end within {timeout_s:.0f} s"
        return killer.verdict(done.returncode, done.stdout)

    def _run(self, arguments: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        """Run the checkout's Python here. When it takes too long it is ended with all that it started."""
        keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        settings = {"PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
        process = subprocess.Popen(
            (sys.executable, *arguments),
            cwd=self.root,
            env=keep | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        return subprocess.CompletedProcess(arguments, process.returncode, output)


class Runner:
    """Runs planted bugs on `jobs` copies below `directory`; `tell` hears what was proven of the code without a fault."""

    def __init__(self, directory: Path, jobs: int, tell: Callable[[str], None]) -> None:
        self._jobs = jobs
        self._tell = tell
        self._sound = Copy(ROOT, directory / "sound")
        self._free: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for number in range(jobs):
            self._free.put(Copy(self._sound.root, directory / str(number)))
        self._locks = {name: threading.Lock() for name in KILLERS}
        self._timeouts_s: dict[str, float] = {}

    def run(self, mutants: Sequence[Mutant]) -> Iterator[Verdict]:
        """Yield the verdicts as they come. Raises `UnsoundError` or `BrokenKillerError` for one that would mean nothing."""
        with ThreadPoolExecutor(self._jobs) as pool:
            work = [pool.submit(self._judge, mutant) for mutant in mutants]
            try:
                for future in as_completed(work):
                    yield future.result()
            finally:
                for future in work:
                    future.cancel()

    def _judge(self, mutant: Mutant) -> Verdict:
        took_s = 0.0
        copy = self._free.get()
        try:
            for name in mutant.killers:
                timeout_s = self._proven_s(KILLERS[name])
                started_s = time.monotonic()
                with copy.planted(mutant):
                    what = copy.try_killer(KILLERS[name], timeout_s)
                took_s += time.monotonic() - started_s
                if what is not None:
                    return Verdict(mutant.name, mutant.rule, mutant.file, name, what, took_s)
        finally:
            self._free.put(copy)
        return Verdict(mutant.name, mutant.rule, mutant.file, None, "", took_s)

    def _proven_s(self, killer: Killer) -> float:
        """Return how long a killer may take, having proven before its first use that it passes without a fault."""
        with self._locks[killer.name]:
            if killer.name not in self._timeouts_s:
                started_s = time.monotonic()
                if (noticed := self._sound.try_killer(killer, LONGEST_S)) is not None:
                    raise UnsoundError(f"{killer.name} fails without any fault: {noticed}")
                took_s = time.monotonic() - started_s
                self._timeouts_s[killer.name] = max(LEAST_TIMEOUT_S, PATIENCE * took_s)
                self._tell(f"without a fault {killer.name} passes in {took_s:.1f} s")
            return self._timeouts_s[killer.name]


def misfits(mutants: Sequence[Mutant], root: Path = ROOT) -> list[str]:
    """Return what is wrong with the catalogue: each fault must fit the checkout, have a name of its own and known killers."""
    names = [mutant.name for mutant in mutants]
    found = [f"two planted bugs have the name {name}" for name in sorted({name for name in names if names.count(name) > 1})]
    for mutant in mutants:
        if not mutant.killers or set(mutant.killers) - set(KILLERS):
            found.append(f"{mutant.name}: unknown or missing killers in {mutant.killers}")
        try:
            mutant.applied_to(root)
        except MutantError as error:
            found.append(str(error))
    return found
