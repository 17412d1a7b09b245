"""What every benchmark reports: the machine it ran on, medians with their spread, a table for people and JSON for programs.

A figure without its machine and its spread says nothing: repeats are interleaved by the benchmarks, so that a busy moment of
the machine shows as spread and not as a slower candidate.
"""

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import orjson
from rich.console import Console, RenderableType


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a benchmark ran. `load_1min` is the load before it: near `cores`, the figures are those of a busy machine."""

    python: str
    platform: str
    cpu: str
    cores: int
    load_1min: float

    @classmethod
    def here(cls) -> Self:
        """Return this machine, now."""
        return cls(
            python=f"{platform.python_implementation()} {platform.python_version()}",
            platform=f"{platform.system()} {platform.machine()}",
            cpu=_cpu_model(),
            cores=usable_cores(),
            load_1min=round(os.getloadavg()[0], 2),
        )

    def line(self) -> str:
        """Return the machine in one line."""
        return f"{self.python}, {self.platform}, {self.cores} x {self.cpu}, load {self.load_1min:.2f} before"


@dataclass(frozen=True, slots=True)
class Summary:
    """A figure over its repeats; `spread` is (maximum - minimum) / median, so 0.1 means the repeats lie within 10 %."""

    median: float
    minimum: float
    maximum: float
    spread: float
    repeats: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return the summary of positive measurements, at least one."""
        median, minimum, maximum = statistics.median(values), min(values), max(values)
        return cls(median, minimum, maximum, (maximum - minimum) / median, len(values))


class Report(Protocol):
    """What a benchmark's `run` returns: a frozen slotted dataclass that can show itself."""

    @property
    def machine(self) -> Machine:
        """Where it ran."""

    def table(self) -> RenderableType:
        """Return the figures as a table."""


@dataclass(frozen=True, slots=True)
class Bars:
    """A chart of one bar for each label; a legend tells the bars' colour."""

    title: str
    unit: str
    values: tuple[tuple[str, float], ...]


@runtime_checkable
class Barred(Report, Protocol):
    """A report that has no chart of its own kind."""

    def bars(self) -> Bars:
        """Return the figures to compare, all of one unit."""


def to_json(report: Report) -> str:
    """Return a report as indented JSON; its fields are those of its dataclass."""
    return orjson.dumps(report, option=orjson.OPT_INDENT_2).decode()


def show(report: Report, console: Console) -> None:
    """Print the table and the machine to `console`."""
    console.print(report.table())
    console.print(report.machine.line(), style="dim", highlight=False)


def usable_cores() -> int:
    """Return how many cores this process may use (its affinity, where the system has one)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_model() -> str:
    """Return the processor's name as Linux tells it, else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine() or "unknown CPU"
