"""The effects of one input: collected while it is handled, handed out with one write for everything that was signed in it."""

from consensus.effects import CommitBlock, Effect, Effects, Persist


class Outgoing:
    """What the input being handled has led to so far, and when it came."""

    def __init__(self) -> None:
        self.now_ms = 0
        self._effects: list[Effect] = []

    def put(self, *effects: Effect) -> None:
        """Add effects, in order."""
        self._effects.extend(effects)

    def take(self) -> Effects:
        """Return what was collected and begin anew."""
        effects, self._effects = self._effects, []
        return one_persist(effects)


def one_persist(effects: list[Effect]) -> Effects:
    """Merge the writes up to a commit into the first: the last state covers all of its messages, and is on disk before any.

    Never across a commit: the certificate of a height must stay in the sign-state until its block is in the store.
    """
    out: list[Effect] = []
    first: int | None = None
    for effect in effects:
        if isinstance(effect, Persist) and first is not None:
            earlier = out[first]
            block = earlier.block if isinstance(earlier, Persist) and effect.block is None else effect.block
            out[first] = Persist(effect.state, block)
            continue
        if isinstance(effect, Persist):
            first = len(out)
        elif isinstance(effect, CommitBlock):
            first = None
        out.append(effect)
    return tuple(out)
