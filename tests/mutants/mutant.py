"""A planted bug: one piece of one file replaced by another, the rule that this breaks, and what should notice."""

from dataclasses import dataclass
from pathlib import Path


class MutantError(ValueError):
    """The planted bug does not fit the code any more, or is no code: mend the catalogue."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """Replaces `old`, which stands exactly once in `file` (relative to the checkout), by `new`.

    `rule` says in a few words what is broken, with its number in docs/protocol.md. `killers` are names of
    `tests.mutants.killers.KILLERS`, tried in this order: the first that fails has caught it.
    """

    name: str
    rule: str
    file: str
    old: str
    new: str
    killers: tuple[str, ...]

    def apply(self, source: str) -> str:
        """Return the source with the fault in it. Raises `MutantError` where it does not fit exactly once."""
        count = source.count(self.old)
        if count != 1:
            raise MutantError(f"{self.name}: the text to replace stands {count} times in {self.file}, not once:\n{self.old}")
        mutated = source.replace(self.old, self.new)
        if mutated == source:
            raise MutantError(f"{self.name}: the replacement changes nothing in {self.file}")
        try:
            compile(mutated, self.file, "exec", dont_inherit=True)
        except SyntaxError as error:
            raise MutantError(f"{self.name}: {self.file} is no Python any more: {error}") from error
        return mutated

    def applied_to(self, root: Path) -> str:
        """Return the faulty source of its file in a checkout."""
        path = root / self.file
        if not path.is_file():
            raise MutantError(f"{self.name}: there is no {self.file} any more")
        return self.apply(path.read_text())
