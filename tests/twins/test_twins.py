"""A fresh sample of twins scenarios on every run, and the proof that they find what they are there for.

`TWINS_SAMPLE` sets how many scenarios of three rounds are run, `TWINS_SEED` repeats a sample.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from consensus.effects import Effects, Proposal
from consensus.messages import Message, ViewChange, step_of
from consensus.sign_state import SignState, position_of
from consensus.signer import Signer
from ledger.certificate import PreparedCert
from ledger.committee import Committee
from ledger.types import View
from tests.seeds import fresh
from tests.twins.__main__ import main, sample
from tests.twins.quick_crypto import quick_crypto
from tests.twins.run import COMMITTEE, TracedDigest, play
from tests.twins.scenario import MEMBERS, all_partitions, round_count, scenario, scenario_count

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = int(os.environ.get("TWINS_SAMPLE", "150"))
quick = pytest.mark.usefixtures("stand_in")
BROKEN_SAMPLE = 1_500
BROKEN_SEED = 5


@pytest.fixture
def stand_in() -> Iterator[None]:
    """Sign and verify by the fast stand-in."""
    with quick_crypto() as places:
        assert places >= 3, "it replaced sign and verify where consensus, ledger and the harness use them"
        yield


@quick
def test_fresh_sample_of_three_rounds_violates_nothing() -> None:
    seed = fresh("twins")
    for number in sample(3, SAMPLE, seed):
        outcome = play(scenario(number, 3))
        replay = f"python -m tests.twins --rounds 3 --scenario {number}"
        assert outcome.violation is None, f"TWINS_SEED={seed}: {outcome.violation}\n{replay}\n{trace(number, 3)}"


def trace(number: int, rounds: int) -> str:
    """Return a scenario's trace."""
    traced = TracedDigest()
    play(scenario(number, rounds), traced)
    return "\n".join(traced.lines())


def test_rounds_are_all_partitions_under_all_primaries() -> None:
    partitions = {frozenset(frozenset(group) for group in partition) for partition in all_partitions()}
    assert len(partitions) == len(all_partitions()) == 52, "the Bell number of 5"
    assert all(sorted(index for group in partition for index in group) == list(range(len(MEMBERS))) for partition in partitions)
    assert round_count() == 208
    assert scenario_count(2) == 43_264
    seen = {(r.groups, r.primary) for number in range(208) for r in scenario(number, 1).rounds}
    assert len(seen) == 208, "each round has a number of its own"
    first, second = scenario(17 + 208 * 99, 2).rounds
    assert (first.groups, first.primary) == (all_partitions()[17 // 4], 17 % 4)
    assert (second.groups, second.primary) == (all_partitions()[99 // 4], 99 % 4)


@quick
def test_traced_run_is_the_same_run() -> None:
    traced = TracedDigest()
    assert play(scenario(20_011, 2), traced) == play(scenario(20_011, 2))
    assert traced.lines()[0].startswith("round 1: primary m3: ")


@quick
def test_digests_do_not_depend_on_the_order_of_hashes() -> None:
    """Other processes with other hash seeds see the same runs."""
    numbers = list(sample(2, 10, BROKEN_SEED))
    code = (
        "from tests.twins.quick_crypto import quick_crypto; from tests.twins.run import play\n"
        "from tests.twins.scenario import scenario\n"
        f"with quick_crypto(): print(*(play(scenario(number, 2)).digest for number in {numbers}))"
    )
    here = [play(scenario(number, 2)).digest for number in numbers]
    assert len(set(here)) == len(here)
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        assert out.stdout.split() == here


def test_libsodium_gives_the_same_run() -> None:
    """The stand-in hides nothing: only the signatures differ."""
    for number in sample(2, 5, BROKEN_SEED):
        real = play(scenario(number, 2))
        with quick_crypto():
            stand_in = play(scenario(number, 2))
        assert replace(real, digest="") == replace(stand_in, digest="")
        assert real.digest != stand_in.digest


@quick
def test_one_scenario_is_replayed_with_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rounds", "2", "--scenario", "20011"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("signatures: a fast stand-in")
    assert "round 1: primary m3: m0,m0',m2 | m1 | m3" in out
    assert f"digest {play(scenario(20_011, 2)).digest}" in out
    assert out.endswith("nothing violated\n")


def first_violation(replicas_believe: Committee | None = None, seed: int = BROKEN_SEED) -> str:
    """Return the first violation in a bounded sample, or nothing."""
    for number in sample(2, BROKEN_SAMPLE, seed):
        if (violation := play(scenario(number, 2), None, replicas_believe).violation) is not None:
            return violation
    return ""


@quick
def test_quorum_one_too_small_is_found() -> None:
    class Weak(Committee):
        @property
        def quorum(self) -> int:
            return COMMITTEE.quorum - 1

    assert "too few votes for a quorum" in first_violation(Weak(COMMITTEE.epoch, COMMITTEE.members))


@quick
def test_view_change_that_forgets_what_was_prepared_forks_and_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Signer.say

    def forgetful(self: Signer, message: Message, prepared: PreparedCert | None, block: Proposal | None) -> Effects:
        if isinstance(message, ViewChange):
            message = ViewChange(message.height, message.view, None)
        return real(self, message, prepared, block)

    monkeypatch.setattr(Signer, "say", forgetful)
    assert first_violation().startswith("FORK")


@quick
def test_new_view_that_ignores_what_was_prepared_forks_and_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_changes: object) -> PreparedCert | None:
        return None

    monkeypatch.setattr("consensus.agreement.highest_prepared", nothing)
    monkeypatch.setattr("consensus.views.highest_prepared", nothing)
    assert first_violation().startswith("FORK")


@quick
def test_signer_that_ignores_the_floor_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def signed(self: SignState, message: Message, prepared: PreparedCert | None) -> SignState:
        kept = tuple(old for old in self.messages if step_of(old) != step_of(message) and old.height == message.height)
        return SignState(max(self.floor, position_of(message)), (*kept, message), prepared)

    monkeypatch.setattr(SignState, "may_sign", lambda _self, _message: True)
    monkeypatch.setattr(SignState, "signed", signed)
    assert "contradicts itself" in first_violation()


@quick
def test_replica_that_never_joins_a_higher_view_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consensus.views.ViewTracker.view_to_join", lambda _self: View(0))
    assert "of healing" in first_violation(seed=4)
