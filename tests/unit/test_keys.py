"""Wallet keys: the official BIP-39 and SLIP-0010 vectors, our own path, and errors that leak no words."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datacar.keys import (
    WORD_COUNTS,
    BadMnemonicError,
    BadPathError,
    ExtendedKey,
    KeyPair,
    generate_mnemonic,
    key_from_mnemonic,
    key_path,
    mnemonic_to_seed,
    normalize_mnemonic,
    parse_path,
)
from ledger.crypto import verify
from ledger.errors import BadEncodingError

SEED_1 = "000102030405060708090a0b0c0d0e0f"
SEED_2 = (
    "fffcf9f6f3f0edeae7e4e1dedbd8d5d2cfccc9c6c3c0bdbab7b4b1aeaba8a5a2"
    "9f9c999693908d8a8784817e7b7875726f6c696663605d5a5754514e4b484542"
)
# SLIP-0010, test vectors 1 and 2 for ed25519: seed, path, chain code, private key, public key (without its leading 00).
SLIP_0010 = [
    (
        SEED_1,
        "m",
        "90046a93de5380a72b5e45010748567d5ea02bbf6522f979e05c0d8d8ca9fffb",
        "2b4be7f19ee27bbf30c667b642d5f4aa69fd169872f8fc3059c08ebae2eb19e7",
        "a4b2856bfec510abab89753fac1ac0e1112364e7d250545963f135f2a33188ed",
    ),
    (
        SEED_1,
        "m/0'",
        "8b59aa11380b624e81507a27fedda59fea6d0b779a778918a2fd3590e16e9c69",
        "68e0fe46dfb67e368c75379acec591dad19df3cde26e63b93a8e704f1dade7a3",
        "8c8a13df77a28f3445213a0f432fde644acaa215fc72dcdf300d5efaa85d350c",
    ),
    (
        SEED_1,
        "m/0'/1'",
        "a320425f77d1b5c2505a6b1b27382b37368ee640e3557c315416801243552f14",
        "b1d0bad404bf35da785a64ca1ac54b2617211d2777696fbffaf208f746ae84f2",
        "1932a5270f335bed617d5b935c80aedb1a35bd9fc1e31acafd5372c30f5c1187",
    ),
    (
        SEED_1,
        "m/0'/1'/2'",
        "2e69929e00b5ab250f49c3fb1c12f252de4fed2c1db88387094a0f8c4c9ccd6c",
        "92a5b23c0b8a99e37d07df3fb9966917f5d06e02ddbd909c7e184371463e9fc9",
        "ae98736566d30ed0e9d2f4486a64bc95740d89c7db33f52121f8ea8f76ff0fc1",
    ),
    (
        SEED_1,
        "m/0'/1'/2'/2'",
        "8f6d87f93d750e0efccda017d662a1b31a266e4a6f5993b15f5c1f07f74dd5cc",
        "30d1dc7e5fc04c31219ab25a27ae00b50f6fd66622f6e9c913253d6511d1e662",
        "8abae2d66361c879b900d204ad2cc4984fa2aa344dd7ddc46007329ac76c429c",
    ),
    (
        SEED_1,
        "m/0'/1'/2'/2'/1000000000'",
        "68789923a0cac2cd5a29172a475fe9e0fb14cd6adb5ad98a3fa70333e7afa230",
        "8f94d394a8e8fd6b1bc2f3f49f5c47e385281d5c17e65324b0f62483e37e8793",
        "3c24da049451555d51a7014a37337aa4e12d41e485abccfa46b47dfb2af54b7a",
    ),
    (
        SEED_2,
        "m",
        "ef70a74db9c3a5af931b5fe73ed8e1a53464133654fd55e7a66f8570b8e33c3b",
        "171cb88b1b3c1db25add599712e36245d75bc65a1a5c9e18d76f9f2b1eab4012",
        "8fe9693f8fa62a4305a140b9764c5ee01e455963744fe18204b4fb948249308a",
    ),
    (
        SEED_2,
        "m/0'",
        "0b78a3226f915c082bf118f83618a618ab6dec793752624cbeb622acb562862d",
        "1559eb2bbec5790b0c65d8693e4d0875b1747f4970ae8b650486ed7470845635",
        "86fab68dcb57aa196c77c5f264f215a112c22a912c10d123b0d03c3c28ef1037",
    ),
    (
        SEED_2,
        "m/0'/2147483647'",
        "138f0b2551bcafeca6ff2aa88ba8ed0ed8de070841f0c4ef0165df8181eaad7f",
        "ea4f5bfe8694d8bb74b7b59404632fd5968b774ed545e810de9c32a4fb4192f4",
        "5ba3b9ac6e90e83effcd25ac4e58a1365a9e35a3d3ae5eb07b9e4d90bcf7506d",
    ),
    (
        SEED_2,
        "m/0'/2147483647'/1'",
        "73bd9fff1cfbde33a1b846c27085f711c0fe2d66fd32e139d3ebc28e5a4a6b90",
        "3757c7577170179c7868353ada796c839135b3d30554bbb74a4b1e4a5a58505c",
        "2e66aa57069c86cc18249aecf5cb5a9cebbfd6fadeab056254763874a9352b45",
    ),
    (
        SEED_2,
        "m/0'/2147483647'/1'/2147483646'",
        "0902fe8a29f9140480a00ef244bd183e8a13288e4412d8389d140aac1794825a",
        "5837736c89570de861ebc173b1086da4f505d4adb387c6a1b1342d5e4ac9ec72",
        "e33c0f7d81d843c572275f287498e8d408654fdf0d1e065b84e2e6f157aab09b",
    ),
    (
        SEED_2,
        "m/0'/2147483647'/1'/2147483646'/2'",
        "5d70af781f3a37b829f0d060924d5e960bdc02e85423494afc0b1a41bbe196d4",
        "551d333177df541ad876a60ea71f00447931c0a9da16f227c11ea080d7391b8d",
        "47150c75db263559a70d5778bf36abbab30fb061ad69f69ece61a72b0cfa4fc0",
    ),
]

# BIP-39's reference vectors use the passphrase TREZOR: 24 words with all-zero and with random entropy.
ALL_ZERO_PHRASE = "abandon " * 23 + "art"
RANDOM_PHRASE = (
    "void come effort suffer camp survey warrior heavy shoot primary clutch crush "
    "open amazing screen patrol group space point ten exist slush involve unfold"
)
ALL_ZERO_SEED = (
    "bda85446c68413707090a52022edd26a1c9462295029f2e60cd7c4f2bbd30971"
    "70af7a4d73245cafa9c3cca8d561a7c3de6f5d4a10be8ed2a5e608d68f92fcc8"
)
RANDOM_SEED = (
    "01f5bced59dec48e362f2c45b5de68b9fd6c92c6634f44d6d40aab69056506f0"
    "e35524a518034ddc1192e1dacd32c1ed3eaa3c3b131c88ed8e7e54c49a5d0998"
)


@pytest.mark.parametrize(("seed", "path", "chain_code", "secret", "public_key"), SLIP_0010)
def test_official_slip_0010_vectors(seed: str, path: str, chain_code: str, secret: str, public_key: str) -> None:
    key = ExtendedKey.master(bytes.fromhex(seed)).derive(parse_path(path))
    assert key.chain_code.hex() == chain_code
    assert key.secret.hex() == secret
    assert KeyPair.from_seed(key.secret).public_key.hex() == public_key


@pytest.mark.parametrize(("phrase", "seed"), [(ALL_ZERO_PHRASE, ALL_ZERO_SEED), (RANDOM_PHRASE, RANDOM_SEED)])
def test_official_bip_39_vectors(phrase: str, seed: str) -> None:
    assert mnemonic_to_seed(phrase, "TREZOR").hex() == seed


def test_our_path_is_slip_0044_test_coin_hardened_throughout() -> None:
    assert key_path() == "m/44'/1'/0'/0'/0'"
    assert parse_path(key_path(3, 7, coin_type=60)) == (44, 60, 3, 0, 7)


def test_words_to_key_is_the_chain_of_both_standards() -> None:
    seed = bytes.fromhex(ALL_ZERO_SEED)
    expected = ExtendedKey.master(seed).child(44).child(1).child(2).child(0).child(5).secret
    assert key_from_mnemonic(ALL_ZERO_PHRASE, passphrase="TREZOR", account=2, index=5).seed == expected


def test_every_part_of_the_derivation_changes_the_key() -> None:
    keys = {
        key_from_mnemonic(ALL_ZERO_PHRASE).seed,
        key_from_mnemonic(ALL_ZERO_PHRASE, passphrase=" ").seed,
        key_from_mnemonic(ALL_ZERO_PHRASE, account=1).seed,
        key_from_mnemonic(ALL_ZERO_PHRASE, index=1).seed,
        key_from_mnemonic(ALL_ZERO_PHRASE, coin_type=60).seed,
    }
    assert len(keys) == 5


@pytest.mark.parametrize("count", WORD_COUNTS)
def test_generated_phrases_are_valid_and_differ(count: int) -> None:
    phrase = generate_mnemonic(count)
    assert len(phrase.split()) == count
    assert normalize_mnemonic(phrase) == phrase
    assert generate_mnemonic(count) != phrase


def test_24_words_is_the_default() -> None:
    assert len(generate_mnemonic().split()) == 24


def test_case_and_spaces_of_a_typed_phrase_do_not_matter() -> None:
    typed = "  " + ALL_ZERO_PHRASE.upper().replace(" ", "\n ", 5) + "\t"
    assert mnemonic_to_seed(typed) == mnemonic_to_seed(ALL_ZERO_PHRASE)


@pytest.mark.parametrize(
    ("phrase", "problem"),
    [
        ("", "got 0"),
        ("abandon " * 11, "got 11"),
        (ALL_ZERO_PHRASE + " art", "got 25"),
        (ALL_ZERO_PHRASE.replace("art", "abandon"), "checksum"),
        (" ".join(["abandon", "xylograph"] + ["abandon"] * 9 + ["secretword"]), "word number 2, 12"),
    ],
)
def test_a_bad_phrase_is_explained_without_its_words(phrase: str, problem: str) -> None:
    with pytest.raises(BadMnemonicError, match=problem) as caught:
        mnemonic_to_seed(phrase)
    told = re.findall(r"\w+", f"{caught.value} {caught.value.data()}")
    assert not set(phrase.split()) & set(told)


@pytest.mark.parametrize("count", [0, 11, 13, 25])
def test_other_word_counts_are_refused(count: int) -> None:
    with pytest.raises(BadMnemonicError, match=f"got {count}"):
        generate_mnemonic(count)


@pytest.mark.parametrize(
    "path",
    [
        *("", "M", "44'", "m/", "m/0", "m/0h", "m/-1'", "m/+1'", "m/ 1'", "m/01'", "m/1''", "m/2147483648'", "m/99999999999'"),
        *("m//0'", "m/\N{ARABIC-INDIC DIGIT ONE}'", "m" + "/0'" * 17),
    ],
)
def test_only_hardened_paths_exist(path: str) -> None:
    with pytest.raises(BadPathError):
        parse_path(path)


@pytest.mark.parametrize("index", [-1, 2**31])
def test_a_step_out_of_range_is_refused(index: int) -> None:
    with pytest.raises(BadPathError):
        ExtendedKey.master(bytes(16)).child(index)
    with pytest.raises(BadPathError):
        key_from_mnemonic(ALL_ZERO_PHRASE, index=index)


@pytest.mark.parametrize("size", [0, 15, 65])
def test_a_master_seed_has_a_sane_size(size: int) -> None:
    with pytest.raises(BadEncodingError, match="16 to 64"):
        ExtendedKey.master(bytes(size))


def test_a_key_pair_needs_exactly_32_bytes() -> None:
    with pytest.raises(BadEncodingError, match="32 bytes, got 31"):
        KeyPair.from_seed(bytes(31))


def test_secrets_never_show_in_a_repr() -> None:
    key = ExtendedKey.master(bytes.fromhex(SEED_1))
    pair = KeyPair.from_seed(key.secret)
    assert repr(key) == "ExtendedKey()"
    assert pair.seed.hex() not in repr(pair)
    assert repr(pair.seed) not in repr(pair)


@settings(max_examples=20)
@given(message=st.binary(max_size=200), index=st.integers(0, 2**31 - 1))
def test_derived_keys_sign(message: bytes, index: int) -> None:
    pair = KeyPair.from_seed(ExtendedKey.master(bytes.fromhex(SEED_2)).child(index).secret)
    assert verify(pair.public_key, pair.sign(message), message)
    assert not verify(pair.public_key, pair.sign(message), message + b"!")
