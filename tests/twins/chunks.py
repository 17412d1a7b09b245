"""Portions of scenarios for worker processes."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

from tests.twins.quick_crypto import quick_crypto
from tests.twins.run import Outcome, play
from tests.twins.scenario import scenario

CHUNK = 104

Chunk: TypeAlias = tuple[int, tuple[int, ...], bool]


def chunks(numbers: Iterable[int], rounds: int, *, real_crypto: bool) -> Iterator[Chunk]:
    """Yield the numbers in portions for a process each."""
    portion: list[int] = []
    for number in numbers:
        portion.append(number)
        if len(portion) == CHUNK:
            yield rounds, tuple(portion), real_crypto
            portion = []
    if portion:
        yield rounds, tuple(portion), real_crypto


def run_chunk(chunk: Chunk) -> list[tuple[int, Outcome]]:
    """Run some scenarios in this process."""
    rounds, numbers, real_crypto = chunk
    with signatures(real=real_crypto):
        return [(number, play(scenario(number, rounds))) for number in numbers]


def signatures(*, real: bool) -> AbstractContextManager[object]:
    return nullcontext() if real else quick_crypto()
