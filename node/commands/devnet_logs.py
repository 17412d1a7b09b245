"""Following the logs of several nodes at once, through restarts and resets."""

import time
from collections.abc import Iterable, Iterator
from io import SEEK_END
from pathlib import Path
from typing import Final

POLL_S: Final = 0.2


def follow_lines(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Yield (path, line) of what is appended from now on, for ever; a file that shrank is read from its start again."""
    places = {path: path.stat().st_size if path.exists() else 0 for path in paths}
    pending = dict.fromkeys(places, b"")
    while True:
        for path in places:
            data = _read_from(path, places)
            *lines, pending[path] = (pending[path] + data).split(b"\n")
            for line in lines:
                yield path, line.decode(errors="replace")
        time.sleep(POLL_S)


def _read_from(path: Path, places: dict[Path, int]) -> bytes:
    """Return what was appended to a file and move its place on."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, SEEK_END)
            start = places[path] if places[path] <= size else 0
            file.seek(start)
            data = file.read(size - start)
    except FileNotFoundError:
        places[path] = 0
        return b""
    places[path] = start + len(data)
    return data
