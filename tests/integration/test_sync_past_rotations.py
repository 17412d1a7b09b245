"""A node that does not know the certificates of today still gets the blocks that tell of them (protocol, section P2P).

Trust is the members as of the tip of the chain here: a node behind a rotation could otherwise never learn of it.
"""

import hashlib
import shutil

import pytest

from genesis.certificates import make_certificate
from node.secret_files import write_secret
from tests.core_network import CoreNetwork, Networks, until
from tests.integration.test_membership import all_vote, govern

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
async def test_a_node_that_was_away_while_all_others_rotated_comes_back_and_votes(networks: Networks, late: int) -> None:
    net = networks(SIZE)
    others = [index for index in range(SIZE) if index != late]
    await net.start()
    await net.ready()
    await net.stop(late)
    await rotate(net, *others)
    await net.ready()
    await net.start(late)
    await until(lambda: all(peer.connected for peer in net.drivers[late].network.peers()))
    await all_vote(net, {keys.member.id for keys in net.keys}, via=late)
    await net.stop()
    assert net.failures == []


async def test_a_node_syncs_from_genesis_after_all_have_rotated(networks: Networks) -> None:
    """Its own old certificate is in its time of grace; those of the others it has never heard of."""
    net = networks(SIZE)
    await net.start()
    await net.ready()
    await rotate(net, 0, 1, 2)
    await net.stop(3)
    shutil.rmtree(net.configs[3].node.data_dir / "db")
    await net.start(3)
    await until(lambda: net.drivers[3].chain.tip_hash == net.drivers[0].chain.tip_hash)
    await until(lambda: all(peer.connected for peer in net.drivers[3].network.peers()))
    await net.stop()
    assert net.failures == []
