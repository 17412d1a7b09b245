"""Bech32m: BIP-350's own vectors, strictness, and what the checksum must catch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.bech32m import MAX_CHARS, decode, decode_symbols, encode, symbols_to_bytes
from ledger.errors import BadEncodingError

# BIP-350, "Test vectors for Bech32m".
VALID = [
    "A1LQFN3A",
    "a1lqfn3a",
    "an83characterlonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11sg7hg6",
    "abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx",
    "11llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllludsr8",
    "split1checkupstagehandshakeupstreamerranterredcaperredlc445v",
    "?1v759aa",
]
INVALID = [
    ("\x201xj0phk", "printable"),
    ("\x7f1g6xzxy", "printable"),
    ("\x801vctc34", "printable"),
    ("an84characterslonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11d6pts4", "too long"),
    ("qyrz8wqd2c9m", "no prefix"),
    ("1qyrz8wqd2c9m", "no prefix"),
    ("y1b0jsk6g", "'b' is not used"),
    ("lt1igcx5c0", "'i' is not used"),
    ("in1muywd", "too short"),
    ("mm1crxm3i", "'i' is not used"),
    ("au1s5cgom", "'o' is not used"),
    ("M1VUXWEZ", "checksum"),
    ("16plkw9", "no prefix"),
    ("1p2gdwpf", "no prefix"),
]
# BIP-350, native segwit addresses of version 1 and up: a version symbol, then a program in whole bytes.
SEGWIT_VALID = [
    (
        "bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y",
        1,
        "751e76e8199196d454941c45d1b3a323f1433bd6751e76e8199196d454941c45d1b3a323f1433bd6",
    ),
    ("BC1SW50QGDZ25J", 16, "751e"),
    ("bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs", 2, "751e76e8199196d454941c45d1b3a323"),
    (
        "tb1pqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesf3hn0c",
        1,
        "000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433",
    ),
    (
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
        1,
        "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
    ),
]
SEGWIT_INVALID = [
    ("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd", "checksum"),  # bech32, not bech32m
    ("BC1S0XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ54WELL", "checksum"),
    ("bc1p38j9r5y49hruaue7wxjce0updqjuyyx0kh56v8s25huc6995vvpql3jow4", "'o' is not used"),
    ("tb1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq47Zagq", "mixes"),
    ("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v07qwwzcrf", "padding"),  # more than 4 bits
    ("tb1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vpggkg4j", "padding"),  # not zero
]

ADDRESS = encode("datr", bytes(range(33)))


def hrp_of(text: str) -> str:
    return text.lower().rpartition("1")[0]


@pytest.mark.parametrize("text", VALID)
def test_official_valid_strings_are_accepted(text: str) -> None:
    assert len(decode_symbols(text, hrp_of(text))) == len(text) - len(hrp_of(text)) - 7


@pytest.mark.parametrize(("text", "problem"), INVALID)
def test_official_invalid_strings_are_refused_for_the_stated_reason(text: str, problem: str) -> None:
    with pytest.raises(BadEncodingError, match=problem):
        decode_symbols(text, hrp_of(text))


@pytest.mark.parametrize(("text", "version", "program"), SEGWIT_VALID)
def test_official_segwit_payloads(text: str, version: int, program: str) -> None:
    symbols = decode_symbols(text, hrp_of(text))
    assert symbols[0] == version
    assert symbols_to_bytes(symbols[1:]).hex() == program


@pytest.mark.parametrize(("text", "problem"), SEGWIT_INVALID)
def test_official_segwit_faults(text: str, problem: str) -> None:
    with pytest.raises(BadEncodingError, match=problem):
        symbols_to_bytes(decode_symbols(text, hrp_of(text))[1:])


def test_an_official_string_is_reproduced_from_its_payload() -> None:
    text = "abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx"
    assert encode("abcdef", decode(text, "abcdef")) == text


def test_an_address_fits_well_within_the_limit() -> None:
    assert len(ADDRESS) == 4 + 1 + 53 + 6
    assert decode(ADDRESS, "datr") == bytes(range(33))


def test_upper_case_is_the_same_address() -> None:
    """QR codes are smaller in upper case."""
    assert decode(ADDRESS.upper(), "datr") == bytes(range(33))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no prefix"),
        (ADDRESS[:-1] + ADDRESS[-1].upper(), "mixes"),
        (" " + ADDRESS, "printable"),
        (ADDRESS + "\n", "printable"),
        (encode("bc", bytes(33)), "prefix is 'bc', expected 'datr'"),
        (ADDRESS.replace("datr", "dart"), "prefix is 'dart'"),
        (ADDRESS.replace("d", "\N{FULLWIDTH LATIN SMALL LETTER D}"), "printable"),
        ("datr1" + "q" * MAX_CHARS, "too long"),
    ],
)
def test_faulty_addresses_say_what_is_wrong(text: str, problem: str) -> None:
    with pytest.raises(BadEncodingError, match=problem) as caught:
        decode(text, "datr")
    assert caught.value.reason == "bad_encoding"
    assert "address" in caught.value.hint


@pytest.mark.parametrize("hrp", ["", "DATR", "da tr", "dätr"])
def test_a_bad_prefix_is_never_written(hrp: str) -> None:
    with pytest.raises(BadEncodingError, match="prefix"):
        encode(hrp, bytes(33))


def test_over_90_characters_are_never_written() -> None:
    """Beyond that length the checksum no longer finds every four errors."""
    assert len(encode("datr", bytes(49))) == MAX_CHARS
    with pytest.raises(BadEncodingError, match="at most 90"):
        encode("datr", bytes(50))


@given(payload=st.binary(max_size=49))
def test_every_payload_comes_back(payload: bytes) -> None:
    assert decode(encode("datr", payload), "datr") == payload


@given(data=st.data())
def test_up_to_four_wrong_characters_are_always_found(data: st.DataObject) -> None:
    characters = list(ADDRESS)
    for position in data.draw(st.sets(st.integers(5, len(ADDRESS) - 1), min_size=1, max_size=4)):
        other = [c for c in "qpzry9x8gf2tvdw0s3jn54khce6mua7l" if c != ADDRESS[position]]
        characters[position] = data.draw(st.sampled_from(other))
    with pytest.raises(BadEncodingError, match="checksum"):
        decode("".join(characters), "datr")


@given(text=st.text(max_size=100))
def test_no_text_gets_past_as_anything_but_itself(text: str) -> None:
    """Whatever is accepted is the one encoding of its payload, but for upper case."""
    try:
        payload = decode(text, "datr")
    except BadEncodingError:
        return
    assert encode("datr", payload) == text.lower()


def _checksum_by_the_book(hrp: str, symbols: list[int]) -> list[int]:
    """Return the checksum as BIP-350 defines it, bit by bit."""
    state = 1
    for symbol in [*(ord(c) >> 5 for c in hrp), 0, *(ord(c) & 31 for c in hrp), *symbols, *[0] * 6]:
        top, state = state >> 25, (state & 0x1FFFFFF) << 5 ^ symbol
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            state ^= generator if top >> bit & 1 else 0
    return [(state ^ 0x2BC830A3) >> shift & 31 for shift in range(25, -1, -5)]


@given(hrp=st.text("abcdefxyz012?!~", min_size=1, max_size=6), payload=st.binary(max_size=40))
def test_the_tables_are_the_definition(hrp: str, payload: bytes) -> None:
    """Of even and odd numbers of symbols, after any prefix."""
    bits = "".join(f"{byte:08b}" for byte in payload)
    symbols = [int(bits[at : at + 5].ljust(5, "0"), 2) for at in range(0, len(bits), 5)]
    letters = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    assert encode(hrp, payload) == f"{hrp}1" + "".join(letters[n] for n in symbols + _checksum_by_the_book(hrp, symbols))
