"""Who fails the TLS handshake and who does not: in memory, with real certificates and OpenSSL."""

import ssl
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from genesis.certificates import make_certificate
from ledger.errors import BadEncodingError
from ledger.types import MemberId
from p2p.tls import LocalIdentity, TlsIdentityError, make_contexts

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
            one, two = make_contexts(LocalIdentity(ONE, *mine)), make_contexts(LocalIdentity(OTHER, *shown))
            assert one.trust(trusted) == two.trust(trusted) == ()
            assert handshake(one.server, two.client)
            assert handshake(two.server, one.client)


def test_a_listener_refuses_whom_nobody_names_and_a_dialler_leaves_that_to_the_transport() -> None:
    """Or a node could never learn, from blocks, of a certificate that is new."""
    mine, known, stranger = (make_certificate(letter * 32, OTHER) for letter in (b"a", b"b", b"c"))
    one, two = make_contexts(LocalIdentity(ONE, *mine)), make_contexts(LocalIdentity(OTHER, *stranger))
    one.trust((known[0],))
    two.trust((mine[0],))
    assert not handshake(one.server, two.client)
    assert handshake(two.server, one.client)


def test_a_dialler_still_demands_proof_of_the_key() -> None:
    """The certificate of another, shown without its key, cannot even be loaded; TLS 1.3 has the peer sign with it."""
    mine, other = make_certificate(b"a" * 32, ONE), make_certificate(b"b" * 32, OTHER)
    with pytest.raises(BadEncodingError, match="do not fit"):
        make_contexts(LocalIdentity(OTHER, other[0], mine[1]))


def test_a_new_certificate_is_loaded_into_the_contexts_in_use() -> None:
    """Nothing is made anew in a commit: neither contexts nor files with the key."""
    mine, other = make_certificate(b"a" * 32, ONE), make_certificate(b"b" * 32, OTHER)
    one, two = make_contexts(LocalIdentity(ONE, *mine)), make_contexts(LocalIdentity(OTHER, *other))
    server = one.server
    assert not handshake(server, two.client)
    assert one.trust((other[0], b"broken")) == (b"broken",)
    assert handshake(server, two.client)
    assert one.trust((other[0], b"broken")) == (), "each is loaded, and complained of, once"
    assert server.cert_store_stats()["x509"] == 1


def test_files_that_cannot_be_written_or_read_are_told_as_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    who = LocalIdentity(ONE, *make_certificate(b"a" * 32, ONE))
    with pytest.raises(TlsIdentityError, match="cannot load the TLS certificate and key of node1") as missing:
        make_contexts(replace(who, key=tmp_path / "nowhere.pem"))
    assert missing.value.reason == "bad_config"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no such folder"))
    with pytest.raises(TlsIdentityError, match="No such file"):
        make_contexts(who)
