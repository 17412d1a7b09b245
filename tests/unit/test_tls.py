"""Who fails the TLS handshake and who does not: in memory, with real certificates and OpenSSL."""

import ssl

import pytest

from genesis.certificates import make_certificate
from ledger.types import MemberId
from p2p.tls import LocalIdentity, make_contexts

ONE, OTHER = MemberId("node1"), MemberId("node2")


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> bool:
    """Return whether both sides accept each other."""
    client_in, client_out, server_in, server_out = (ssl.MemoryBIO() for _ in range(4))
    dialling = client.wrap_bio(client_in, client_out, server_side=False)
    listening = server.wrap_bio(server_in, server_out, server_side=True)
    done = {"dialling": False, "listening": False}
    try:
        for _ in range(6):
            for name, side in (("dialling", dialling), ("listening", listening)):
                try:
                    side.do_handshake()
                    done[name] = True
                except ssl.SSLWantReadError:
                    pass
            server_in.write(client_out.read())
            client_in.write(server_out.read())
    except ssl.SSLError:
        return False
    return all(done.values())


@pytest.mark.parametrize("seed", [b"n", b"m", b"k", b"j"])
def test_replaced_and_new_certificate_both_work_in_the_time_of_grace(seed: bytes) -> None:
    """They have the same subject: in whichever order a node trusts them, it must take neither for the other's issuer."""
    mine, old, new = make_certificate(b"a" * 32, ONE), make_certificate(b"o" * 32, OTHER), make_certificate(seed * 32, OTHER)
    for shown in (old, new):
        for trusted in ((mine[0], new[0], old[0]), (mine[0], old[0], new[0])):
            one = make_contexts(LocalIdentity(ONE, *mine), trusted)
            two = make_contexts(LocalIdentity(OTHER, *shown), trusted)
            assert handshake(one.server, two.client)
            assert handshake(two.server, one.client)


def test_certificate_that_nobody_names_is_refused_on_both_sides() -> None:
    mine, known, stranger = (make_certificate(letter * 32, OTHER) for letter in (b"a", b"b", b"c"))
    one = make_contexts(LocalIdentity(ONE, *mine), (known[0],))
    two = make_contexts(LocalIdentity(OTHER, *stranger), (mine[0],))
    assert not handshake(one.server, two.client)
    assert not handshake(two.server, one.client)
