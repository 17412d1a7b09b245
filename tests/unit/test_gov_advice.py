"""The advice before a vote: whether the network would stay live with the members that are connected now."""

import pytest

from node.commands.gov_advice import advise

ABCD = ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("kind", "name", "committee", "live", "stays", "after"),
    [
        ("promote", "e", ABCD, "abcde", True, (5, 1, 4, 5)),
        ("promote", "e", ABCD, "abcd", True, (5, 1, 4, 4)),
        ("promote", "e", ABCD, "abc", False, (5, 1, 4, 3)),
        ("remove", "e", [*ABCD, "e"], "abcd", True, (4, 1, 3, 4)),
        ("remove", "a", [*ABCD, "e"], "abc", False, (4, 1, 3, 2)),
        ("remove", "a", ["a", "b"], "ab", True, (1, 0, 1, 1)),
    ],
)
def test_verdicts(kind: str, name: str, committee: list[str], live: str, stays: bool, after: tuple[int, ...]) -> None:
    advice = advise(kind, name, committee, set(live))
    assert advice is not None
    assert advice.stays_live is stays
    assert (advice.after.n, advice.after.f, advice.after.q, advice.after.connected) == after
    assert any("STOP" in line for line in advice.sentences()) is not stays
    assert advice.to_json()["stays_live"] is stays


def test_a_network_without_a_member_to_spare_is_told() -> None:
    advice = advise("promote", "e", ABCD, set("abcd"))
    assert advice is not None
    assert "as soon as one more" in advice.sentences()[2]


def test_losing_a_fault_is_told() -> None:
    advice = advise("remove", "g", list("abcdefg"), set("abcdefg"))
    assert advice is not None
    assert advice.sentences()[-1] == "it would bear 1 faulty members instead of 2"


@pytest.mark.parametrize(("kind", "name"), [("add_observer", "x"), ("remove", "observer")])
def test_what_leaves_the_committee_alone_needs_none(kind: str, name: str) -> None:
    assert advise(kind, name, ABCD, set("abcd")) is None
    assert advise("remove", "a", ["a"], {"a"}) is None
