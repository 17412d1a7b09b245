"""A node that does not know the certificates of today still gets the blocks that tell of them (protocol, section P2P).

Trust is the members as of the tip of the chain here: a node behind a rotation could otherwise never learn of it.
"""

import hashlib
import shutil
from pathlib import Path

import pytest

from genesis.certificates import make_certificate
from node.secret_files import write_secret
from tests.core_network import CoreNetwork
from tests.integration.test_membership import all_vote, govern, until

SIZE = 4


async def rotate(net: CoreNetwork, *indexes: int) -> None:
    """Put new certificates on record, then have their nodes show them: each stops and starts with its new files."""
    made = {index: make_certificate(hashlib.sha256(b"certificate %d" % index).digest(), f"new {index}") for index in indexes}
    for index, (certificate, _) in made.items():
        await govern(net, index, "rotate_certificate", certificate)
    await until(lambda: all(len(net.drivers[index].chain.membership.retired) == len(indexes) for index in indexes))
    await net.stop(*indexes)
    for index, (certificate, key) in made.items():
        config = net.configs[index].node
        config.tls_certificate.write_bytes(certificate)
        config.tls_key.unlink()
        write_secret(config.tls_key, key)
    await net.start(*indexes)


@pytest.mark.parametrize("late", [0, SIZE - 1], ids=["dials all", "is dialled by all"])
async def test_a_node_that_was_away_while_all_others_rotated_comes_back_and_votes(tmp_path: Path, late: int) -> None:
    net = CoreNetwork(tmp_path, SIZE)
    others = [index for index in range(SIZE) if index != late]
    await net.start()
    await until(lambda: all(net.service(index).readiness().ready for index in range(SIZE)))
    await net.stop(late)
    await rotate(net, *others)
    await until(lambda: all(net.service(index).readiness().ready for index in others))
    await net.start(late)
    await until(lambda: all(peer.connected for peer in net.drivers[late].network.peers()))
    await all_vote(net, {keys.member.id for keys in net.keys}, via=late)
    await net.stop()
    assert net.failures == []


async def test_a_node_syncs_from_genesis_after_all_have_rotated(tmp_path: Path) -> None:
    """Its own old certificate is in its time of grace; those of the others it has never heard of."""
    net = CoreNetwork(tmp_path, SIZE)
    await net.start()
    await until(lambda: all(net.service(index).readiness().ready for index in range(SIZE)))
    await rotate(net, 0, 1, 2)
    await net.stop(3)
    shutil.rmtree(net.configs[3].node.data_dir / "db")
    await net.start(3)
    await until(lambda: net.drivers[3].chain.tip_hash == net.drivers[0].chain.tip_hash)
    await until(lambda: all(peer.connected for peer in net.drivers[3].network.peers()))
    await net.stop()
    assert net.failures == []
