"""The space of scenarios: a number names a list of rounds, and everything else that happens in them.

A round is one of the 52 partitions of the five instances (m0, its twin m0', m1, m2, m3) with one of the 4 primaries: 208 of
them. A scenario of r rounds is a number below 208^r, its digits in base 208 the rounds, the first round lowest. From the same
number come, by a seeded generator, the order of deliveries, where each round is cut short, who restarts before it, and what
becomes of the twins at the end.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Final

INSTANCES: Final = ("m0", "m0'", "m1", "m2", "m3")
MEMBERS: Final = (0, 0, 1, 2, 3)
PRIMARIES: Final = 4
MOST_DELIVERIES: Final = 80
AT_FIRST_COMMIT: Final = 0  # a round cut as soon as one instance commits
RESTART_BITS: Final = 3  # an instance restarts before a round with probability 1/8

Partition = tuple[tuple[int, ...], ...]


class Ending(Enum):
    """What the twins do after the last round, when everybody is connected again."""

    BOTH_STAY = "both twins stay"
    TWIN_OFF = "the twin m0' is switched off"
    BOTH_OFF = "m0 and its twin are switched off"


@dataclass(frozen=True, slots=True)
class Round:
    """Groups of instances that hear only one another, and the primary whose view is waited for.

    `cut` is after how many deliveries the round is cut short, or `AT_FIRST_COMMIT`, or None for a round of full length;
    `restarts` are the instances that restart from their disks before it.
    """

    groups: Partition
    primary: int
    cut: int | None
    restarts: tuple[int, ...]

    def __str__(self) -> str:
        groups = " | ".join(_names(group) for group in self.groups)
        length = "" if self.cut is None else f", cut after {self.cut} deliveries" if self.cut else ", cut at the first commit"
        return f"primary m{self.primary}: {groups}{length}" + (f"; {_names(self.restarts)} restart" if self.restarts else "")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario by its number among those of `len(rounds)` rounds."""

    number: int
    rounds: tuple[Round, ...]
    ending: Ending


def _names(indices: tuple[int, ...]) -> str:
    return ",".join(INSTANCES[index] for index in indices)


def partitions_of(items: tuple[int, ...]) -> Iterator[Partition]:
    """Yield every way to part `items` into groups, in a fixed order."""
    if not items:
        yield ()
        return
    first, rest = items[0], items[1:]
    for parts in partitions_of(rest):
        yield ((first,), *parts)
        for index, group in enumerate(parts):
            yield ((first, *group), *parts[:index], *parts[index + 1 :])


@cache
def all_partitions() -> tuple[Partition, ...]:
    """Return the 52 partitions of the five instances."""
    return tuple(partitions_of(tuple(range(len(INSTANCES)))))


def round_count() -> int:
    """Return how many different rounds there are."""
    return len(all_partitions()) * PRIMARIES


def scenario_count(rounds: int) -> int:
    """Return how many scenarios of so many rounds there are."""
    return int(round_count() ** rounds)


def scenario(number: int, rounds: int) -> Scenario:
    """Return scenario `number` of those with `rounds` rounds."""
    if not 0 <= number < scenario_count(rounds):
        raise ValueError(f"a scenario of {rounds} rounds has a number below {scenario_count(rounds)}, got {number}")
    draws, rest = random.Random(number), number
    out = []
    for _ in range(rounds):
        rest, digit = divmod(rest, round_count())
        cut = draws.choice((None, None, AT_FIRST_COMMIT, draws.randrange(1, MOST_DELIVERIES)))
        restarts = tuple(index for index in range(len(INSTANCES)) if not draws.getrandbits(RESTART_BITS))
        out.append(Round(all_partitions()[digit // PRIMARIES], digit % PRIMARIES, cut, restarts))
    return Scenario(number, tuple(out), draws.choice(tuple(Ending)))
