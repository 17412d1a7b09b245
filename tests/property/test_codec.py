"""One encoding for each value: any bytes decode to something that re-encodes to the same bytes, or to a clear error."""

import tracemalloc

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.messages import Signed
from ledger.block import Block, Header, Receipt
from ledger.certificate import QuorumCertificate
from ledger.codec import INT_MAX, INT_MIN, MAX_DEPTH, Value, decode, encode
from ledger.errors import BadEncodingError, DatacarError, TooLargeError
from ledger.transaction import Transaction

GENESIS_HASH = bytes(range(32))

atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(INT_MIN, INT_MAX),
    st.binary(max_size=300),
    st.text(st.characters(exclude_categories=["Cs"])),
)
values = st.recursive(atoms, lambda inner: st.lists(inner, max_size=5).map(tuple), max_leaves=30)


@given(values)
def test_values_come_back_as_they_were(value: Value) -> None:
    data = encode(value)
    again = decode(data)
    assert again == value
    assert repr(again) == repr(value), "True is not 1"
    assert encode(again) == data


@given(st.binary(max_size=400))
@settings(max_examples=2_000)
def test_any_bytes_are_canonical_or_refused(data: bytes) -> None:
    try:
        value = decode(data)
    except (BadEncodingError, TooLargeError):
        return
    assert encode(value) == data


@given(values, st.data())
@settings(max_examples=400)
def test_one_changed_byte_is_another_value_or_refused(value: Value, data: st.DataObject) -> None:
    good = encode(value)
    place = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[place] ^= data.draw(st.integers(1, 255))
    try:
        other = decode(bytes(bad))
    except DatacarError:
        return
    assert encode(other) == bytes(bad)
    assert repr(other) != repr(value)


@given(st.binary(max_size=600))
@settings(max_examples=1_000)
def test_typed_decoders_refuse_with_coded_errors_only(data: bytes) -> None:
    decoders = (
        lambda: Transaction.from_raw(data, GENESIS_HASH),
        lambda: Signed.decode(data),
        lambda: Header.from_value(decode(data)),
        lambda: Block.from_value(decode(data)),
        lambda: Receipt.from_value(decode(data)),
        lambda: QuorumCertificate.from_value(decode(data)),
    )
    for decoder in decoders:
        with pytest.raises(DatacarError):
            decoder()


@given(values)
@settings(max_examples=300)
def test_well_formed_values_of_the_wrong_type_are_refused(value: Value) -> None:
    for decoder in (Header.from_value, Block.from_value, Receipt.from_value, QuorumCertificate.from_value, Signed.from_value):
        with pytest.raises(DatacarError):
            decoder(value)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("float", msgpack.packb(1.5)),
        ("NaN", b"\xcb\x7f\xf8" + bytes(6)),
        ("map", b"\x81\x01\x02"),
        ("empty map", b"\x80"),
        ("extension", b"\xd4\x01\x00"),
        ("timestamp", b"\xd6\xff" + bytes(4)),
        ("long form of a small integer", b"\xcd\x00\x01"),
        ("signed form of a positive integer", b"\xd0\x01"),
        ("long form of a short string", b"\xd9\x01a"),
        ("long form of a short array", b"\xdc\x00\x01\x01"),
        ("invalid UTF-8", b"\xa1\xff"),
        ("lone surrogate", b"\xa3\xed\xa0\x80"),
        ("trailing bytes", b"\x01\x01"),
        ("truncated", b"\x92\x01"),
        ("unused byte", b"\xc1"),
        ("array of four billion", b"\xdd\xff\xff\xff\xff"),
        ("bytes of four billion", b"\xc6\xff\xff\xff\xff"),
        ("depth bomb", b"\x91" * 100_000 + b"\x00"),
        ("one level too deep", b"\x91" * (MAX_DEPTH + 1) + b"\x00"),
        ("empty", b""),
    ],
)
def test_what_is_not_canonical_is_refused(name: str, data: bytes) -> None:
    del name
    with pytest.raises(BadEncodingError):
        decode(data)


def test_the_deepest_allowed_nesting_is_read() -> None:
    data = b"\x91" * MAX_DEPTH + b"\x00"
    assert encode(decode(data)) == data


@pytest.mark.parametrize("value", [1.0, {"a": 1}, {1}, 2**64, -(2**63) - 1, "\ud800", object(), bytearray(b"x"), [[1.5]]])
def test_what_has_no_encoding_is_not_encoded(value: object) -> None:
    with pytest.raises(BadEncodingError):
        encode(value)  # type: ignore[arg-type]


def test_length_is_bounded_before_anything_is_read() -> None:
    with pytest.raises(TooLargeError) as caught:
        decode(bytes(101), max_bytes=100)
    assert caught.value.details == {"limit": 100, "got": 101}


@pytest.mark.parametrize(
    ("data", "max_values"),
    [
        (b"\xdc\xff\xff" * 1_023, 65_536),
        (b"\xdc\x0b\x00\x00" * 1_000, 4_096),
        (b"\xdd\x00\x00\xff\xff" * 51, 65_536),
        (b"\xdc\xff\xff" * 400 + bytes(65_535), 65_536),
    ],
)
def test_arrays_that_announce_what_does_not_follow_get_no_room(data: bytes, max_values: int) -> None:
    """Three kilobytes took 80 MB and a tenth of a second: from any wallet, before any signature was looked at."""
    tracemalloc.start()
    with pytest.raises(BadEncodingError):
        decode(data, max_values=max_values)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 300_000


@pytest.mark.parametrize("inner", [b"\x90", b"\x01", b"\xc0"])
def test_millions_of_tiny_values_are_refused_while_reading(inner: bytes) -> None:
    """A frame of eight megabytes must not hold a node: flat, or as arrays of arrays that are each within the bound."""
    flat = b"\xdd" + (2**22).to_bytes(4) + inner * 2**22
    nested = b"\xdc\x00\x40" + (b"\xdc\xff\xff" + inner * 65_535) * 64
    for data in (flat, nested):
        with pytest.raises((TooLargeError, BadEncodingError)):
            decode(data)
    with pytest.raises(TooLargeError) as caught:
        decode(b"\x92\x90\x92\x01\x02", max_values=6)
    assert caught.value.details == {"limit": 6, "got": 7}
    assert decode(b"\x92\x90\x92\x01\x02", max_values=7) == ((), (1, 2))
