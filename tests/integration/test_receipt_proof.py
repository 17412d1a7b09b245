"""A receipt's proof is believed with nothing but the genesis hash, and not after any change."""

import random
from pathlib import Path

import pytest

from ledger.codec import encode
from ledger.errors import DatacarError, InvalidInputError
from ledger.list_root import prove_item
from ledger.receipt_proof import ReceiptProof
from ledger.types import Height
from node.api import TxState
from tests.core_network import ADDRESSES, CoreNetwork


async def real_proof(directory: Path) -> tuple[ReceiptProof, bytes]:
    """Return the proof of a transfer on a real chain of four, and the genesis hash."""
    net = CoreNetwork(directory, 4)
    await net.start()
    try:
        service, item = net.service(0), net.transfer(0, ADDRESSES[1], 7)
        await service.submit([item.raw])
        status = await service.wait_final(item.id, 20_000)
        assert status.state is TxState.SUCCEEDED
        proof = service.prove_receipt(item.id)
        assert proof is not None
        assert (proof.receipt.id, proof.receipt) == (item.id, status.receipt)
        return proof, net.genesis.spec.hash
    finally:
        await net.stop()


def is_believed(data: bytes, genesis_hash: bytes) -> bool:
    """Return whether the bytes are a proof; refusals are coded errors, never anything else."""
    try:
        ReceiptProof.decode(data).verify(genesis_hash)
    except DatacarError:
        return False
    return True


async def test_proof_is_accepted_and_every_change_is_refused(tmp_path: Path) -> None:
    proof, genesis_hash = await real_proof(tmp_path)
    good = proof.encode()
    ReceiptProof.decode(good).verify(genesis_hash)
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    for _ in range(300):
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= rng.randint(1, 255)
        assert not is_believed(bytes(bad), genesis_hash), f"seed {seed}"


async def test_proof_of_another_chain_or_place_is_refused(tmp_path: Path) -> None:
    proof, genesis_hash = await real_proof(tmp_path)
    with pytest.raises(InvalidInputError) as caught:
        proof.verify(bytes(32))
    assert caught.value.reason == "wrong_chain"
    elsewhere = prove_item(genesis_hash, [bytes(32), proof.receipt.hash(genesis_hash)], 1)
    with pytest.raises(DatacarError):
        ReceiptProof(proof.genesis, (), proof.certificate, proof.receipt, elsewhere).verify(genesis_hash)
    with pytest.raises(DatacarError):
        ReceiptProof.decode(encode((2, b"", (), None, None, None)))
    assert proof.certificate.header.height > Height(0)
