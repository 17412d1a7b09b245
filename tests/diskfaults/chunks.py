"""Portions of faults for worker processes."""

import tempfile
from functools import lru_cache
from pathlib import Path

import structlog

from tests.diskfaults.original import Original, load_original
from tests.diskfaults.play import Outcome, play

ORIGINAL_NAME = "original"

loaded = lru_cache(maxsize=1)(load_original)


def run_chunk(folder: Path, resync_every: int, seeds: range) -> list[Outcome | str]:
    """Play some faults in this process; a failure comes back as its text."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    return [_run(loaded(folder / ORIGINAL_NAME), folder, seed, resync=seed % resync_every == 0) for seed in seeds]


def _run(original: Original, folder: Path, seed: int, *, resync: bool) -> Outcome | str:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        try:
            return play(original, Path(place), seed, resync=resync)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a failure to be shown with its seed
            notes = "; ".join(getattr(error, "__notes__", []))
            return f"python -m tests.diskfaults --count 1 --seed {seed}\n  {type(error).__name__}: {error} ({notes})"
