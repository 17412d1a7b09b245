"""The planted bugs, by the part of the code that they are in."""

from typing import Final

from tests.mutants.catalogue import agreement, blocks, certificates, floods, members, pace, signing, syncing, views
from tests.mutants.mutant import Mutant

MUTANTS: Final[tuple[Mutant, ...]] = (
    *certificates.MUTANTS,
    *agreement.MUTANTS,
    *views.MUTANTS,
    *signing.MUTANTS,
    *pace.MUTANTS,
    *blocks.MUTANTS,
    *syncing.MUTANTS,
    *members.MUTANTS,
    *floods.MUTANTS,
)
