"""Planted bugs: small deliberate faults in the consensus path, each of which the tests or the simulator must catch."""
